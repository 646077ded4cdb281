"""What a name says of the training: rank, alpha, epochs, data set."""

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from tagship.lint.finding import ERROR, WARN, Finding
from tagship.lint.held import Fact, Held
from tagship.lint.names import Named, shown
from tagship.runs.recorded import publishable

# Trainers count part of an epoch at the end, or not.
_PART_OF_AN_EPOCH = 0.05
# What the field of a name may hold (naming/fields.py), and what is rather a file's name.
_WORD = re.compile(r"[A-Za-z0-9._]+")
_FILE = re.compile(r"\.(?:jsonl?|csv|tsv|parquet|arrow|txt|zip|gz)$", re.IGNORECASE)


def check_rank(name: Named, held: Held) -> Iterator[Finding]:
    """The adapter's rank, and that it is the only one."""
    said = name.fields.get("rank")
    if said is None or held.rank is None:
        return
    if said != held.rank.value:
        yield replace(
            name.compared("rank", said, held.rank, level=ERROR), remedy=name.corrected("rank", held.rank.value)
        )
    elif len(held.ranks) > 1:
        yield _of_some(name, "rank", said, held.ranks, "rank_pattern")
    else:
        yield name.compared("rank", said, held.rank)


def check_alpha(name: Named, held: Held) -> Iterator[Finding]:
    """The adapter's alpha, and that it is the only one."""
    said = name.fields.get("alpha")
    if said is None or held.alpha is None:
        return
    if said != held.alpha.value:
        value = held.alpha.value
        remedy = name.corrected("alpha", int(value)) if value.is_integer() else _without("alpha", value)
        yield replace(name.compared("alpha", said, held.alpha, level=ERROR), remedy=remedy)
    elif len(held.alphas) > 1:
        yield _of_some(name, "alpha", said, held.alphas, "alpha_pattern")
    else:
        yield name.compared("alpha", said, held.alpha)


def check_epochs(name: Named, held: Held) -> Iterator[Finding]:
    """The epochs that were recorded, and that the training came to its end."""
    said = name.fields.get("epochs")
    if not isinstance(said, int) or held.epochs is None:
        return
    recorded = held.epochs.value
    if abs(recorded - said) > _PART_OF_AN_EPOCH:
        remedy = name.corrected("epochs", int(recorded)) if recorded.is_integer() else _without("epochs", recorded)
        yield replace(name.compared("epochs", said, held.epochs, level=ERROR), remedy=remedy)
    elif held.stopped is not None and held.stopped.value < said - 0.5:
        stopped = Fact(f"it stopped at epoch {held.stopped.value:g}", held.stopped.where)
        finding = name.compared("epochs", said, stopped, level=WARN)
        yield replace(finding, remedy="say how many were trained, or train it to its end")
    else:
        yield name.compared("epochs", said, held.epochs)


def check_dataset(name: Named, held: Held) -> Iterator[Finding]:
    """The data set that was recorded, whatever its hyphens, or the organisation before it. Another word is a lie; for
    what a name could not say as it is, such as a file, people have words of their own."""
    if name.dataset is None or held.dataset is None or not publishable({"dataset": held.dataset.value}):
        return  # a path says nothing, and is nobody's business
    told = held.dataset.value.rpartition("/")[2]
    said, recorded = _letters(name.dataset), _letters(told)
    if said and recorded and (said in recorded or recorded in said):
        yield name.compared("dataset", name.dataset, held.dataset)
        return
    level = ERROR if _WORD.fullmatch(held.dataset.value) and not _FILE.search(told) else WARN
    word = re.sub(r"[^a-zA-Z0-9_.]", "", _FILE.sub("", told))
    yield replace(
        name.compared("dataset", name.dataset, held.dataset, level=level), remedy=name.corrected("dataset", word)
    )


def _of_some(name: Named, field: str, said: object, values: Sequence[float], pattern: str) -> Finding:
    listed = " and ".join(map(shown, values))
    return Finding(
        level=WARN,
        field=field,
        name=name.text,
        said=str(said),
        held=f"{listed}, by {pattern}",
        where="adapter_config.json",
        remedy="the name has that of most modules; the model card says the others",
    )


def _without(field: str, value: float) -> str:
    return f"{field} {value:g} is not whole, and names have whole numbers: leave {{{field}}} out of [naming] run"


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


TRAINING_CHECKS: tuple[Callable[[Named, Held], Iterator[Finding]], ...] = (
    check_rank,
    check_alpha,
    check_epochs,
    check_dataset,
)
