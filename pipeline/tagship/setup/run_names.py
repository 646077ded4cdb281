"""How somebody names training runs, learned from the names of their folders.

What a run's adapter and record tell is looked for in its name; what is left of the name is a base, a dataset, or text
that stays as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from tagship.naming.fields import FieldValue, PatternError, Vocabulary
from tagship.naming.pattern import Pattern
from tagship.policy.naming import RUN_PATTERN

# The dates that people put into names, the more particular first: how they are written, and what finds them.
_DATES = (
    ("%Y%m%d-%H%M%S", r"\d{8}-\d{6}"),
    ("%Y%m%d_%H%M%S", r"\d{8}_\d{6}"),
    ("%Y%m%dT%H%M%S", r"\d{8}T\d{6}"),
    ("%Y-%m-%d-%H-%M-%S", r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d"),
    ("%Y-%m-%d_%H-%M-%S", r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"),
    ("%Y%m%d-%H%M", r"\d{8}-\d{4}"),
    ("%Y%m%d_%H%M", r"\d{8}_\d{4}"),
    ("%Y-%m-%d", r"\d{4}-\d\d-\d\d"),
    ("%Y%m%d", r"\d{8}"),
)
_YEARS = range(2000, 2100)
_NUMBERS = {
    "rank": r"(?<![A-Za-z0-9])(?:rank|lora_r|lora|r)[-_=]?(\d+)(?!\d)",
    "alpha": r"(?<![A-Za-z])(?:alpha|a)[-_=]?(\d+)(?!\d)",
    "epochs": r"(?<![A-Za-z])(?:epochs|epoch|ep|e)[-_=]?(\d+)(?!\d)",
}
_SHORTEST = 3
_PLAIN = Vocabulary(dates=("trained",), version=False)
_SEPARATORS = "-_."


class Named(Struct, frozen=True, kw_only=True):
    """A run's name, with what is known of the run beside it: rank, alpha and perhaps more in `fields`, and its base
    model by its id or folder."""

    name: str
    fields: Mapping[str, FieldValue]
    base: str


class Learned(Struct, frozen=True, kw_only=True):
    """A pattern for the names of runs; `repo` is the part of it that names the model, `short_base` the word for the
    base where the names have one of their own."""

    pattern: str
    repo: str
    short_base: str | None = None

    def read(self, name: str) -> dict[str, FieldValue] | None:
        """What a name tells by this pattern."""
        return Pattern(self.pattern, _PLAIN).parse(name)


def learn(names: Sequence[Named], *, names_itself: bool = True) -> Learned | None:
    """The pattern that the first name, and most of the others, are made by. None where that name says nothing of its
    run. `names_itself` is whether runs will have the name: what a folder's name alone tells is of no use otherwise."""
    if Pattern(RUN_PATTERN, _PLAIN).parse(names[0].name) is not None:  # what it says of the run has to be so
        word = names[0].name.partition("-")[0]
        return Learned(
            pattern=RUN_PATTERN,
            repo="{base}-{dataset}",
            short_base=word if _is_base(word, names[0].base) else None,
        )
    best, fitting = None, 0
    for learned in _candidates(names[0]):
        if not names_itself and "{name}" in learned.pattern:
            continue
        fits = sum(_fits(learned, named) for named in names)
        if fits > fitting:
            best, fitting = learned, fits
    return best


def date_in(name: str) -> tuple[datetime, str, tuple[int, int]] | None:
    """The date in a name, how it is written, and where."""
    for written, pattern in _DATES:
        for found in re.finditer(rf"(?<!\d){pattern}(?!\d)", name):
            try:
                moment = datetime.strptime(found[0], written).replace(tzinfo=UTC)
            except ValueError:
                continue
            if moment.year in _YEARS:
                return moment, written, found.span()
    return None


def _candidates(named: Named) -> Iterator[Learned]:
    """Patterns that the name is made by, the more general first."""
    places = _places(named)
    if not places:
        return
    start = places[0][0]
    tail, position = "", start
    for begin, end, placeholder in places:
        tail += named.name[position:begin] + placeholder
        position = end
    tail += named.name[position:]
    before = named.name[:start]
    # The letter or word before a number is of its field: `-r{rank}`.
    of_number = "" if places[0][2].startswith("{trained") else r"[-_.]?[A-Za-z]*[-_=]?$"
    head = re.sub(of_number, "", before) or before.rstrip(_SEPARATORS)
    head = head.rstrip(_SEPARATORS)
    between = named.name[len(head) : start]
    for pattern, short_base in _heads(head, named):
        text = pattern + between + tail
        if _is_sound(text):
            yield Learned(pattern=text, repo=pattern, short_base=short_base)


def _places(named: Named) -> list[tuple[int, int, str]]:
    """Where in the name the fields are whose values are known: begin, end, and the placeholder."""
    places: list[tuple[int, int, str]] = []
    name = named.name
    if date := date_in(name):
        places.append((*date[2], f"{{trained:{date[1]}}}"))
    for field, pattern in _NUMBERS.items():
        known = named.fields.get(field)
        for found in re.finditer(pattern, name):
            is_it = int(found[1]) == known if known is not None else field == "epochs" and bool(places)
            if is_it and not any(begin < found.end(1) and found.start(1) < end for begin, end, _ in places):
                places.append((*found.span(1), f"{{{field}}}"))
                break
    return sorted(places)


def _heads(head: str, named: Named) -> Iterator[tuple[str, str | None]]:
    """What the beginning of a name may be made by, and its word for the base."""
    words = head.split("-") if head else []
    bases = [number for number, word in enumerate(words) if _is_base(word, named.base)]
    if bases and len(words) <= 2:
        generic = ["{base}" if number == bases[0] else "{dataset}" for number in range(len(words))]
        yield "-".join(generic), words[bases[0]]
    elif len(words) == 1:
        yield "{name}", None
    elif _is_base("-".join(words[:-1]), named.base) and not _is_base(head, named.base):
        yield f"{'-'.join(words[:-1])}-{{dataset}}", None  # no word has hyphens: the base stays as it is written
    if head:
        yield head.replace("{", "").replace("}", ""), None


def _is_base(word: str, base: str) -> bool:
    """Whether a word stands for a base model: its name, or the beginning of it, without hyphens."""
    compact = re.sub(r"[^a-z0-9]", "", base.rstrip("/").rpartition("/")[2].lower())
    word = re.sub(r"[^a-z0-9]", "", word.lower())
    return len(word) >= _SHORTEST and compact.startswith(word)


def _is_sound(pattern: str) -> bool:
    try:
        return bool(Pattern(pattern, _PLAIN).fields)
    except PatternError:
        return False


def _fits(learned: Learned, named: Named) -> bool:
    read = learned.read(named.name)
    return read is not None and all(read.get(key, named.fields[key]) == named.fields[key] for key in _told(named))


def _told(named: Named) -> list[str]:
    return [key for key in named.fields if key != "trained"]  # of which a name may have the day alone
