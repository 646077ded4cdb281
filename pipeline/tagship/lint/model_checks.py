"""What a name says of the model: family, size, what it is for."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from tagship.lint.families import families_in, is_of
from tagship.lint.finding import ERROR, WARN, Finding
from tagship.lint.held import ADAPTER, Fact, Held
from tagship.lint.names import Named
from tagship.lint.sizes import counted, sizes_in

# "How do ML practitioners perceive explainability of names?": what 108 users of the Hub want in a name, and how many of
# 14 178 names have it (arXiv 2310.01642).
_FAMILY_IS_WANTED = "64% of the Hub's users want the architecture in a name"
_SIZE_IS_WANTED = "57% of the Hub's users want the size in a name, and 44% of names have it"
_CHAT_WORDS = ("instruct", "chat", "it")
# How transformers' classes end that do what a word says.
_HEADS = {
    "embed": ("Model", "ForSentenceEmbedding"),
    "embedding": ("Model", "ForSentenceEmbedding"),
    "embeddings": ("Model", "ForSentenceEmbedding"),
    "reward": ("ForSequenceClassification", "ForRewardModel", "ForTokenClassification"),
    "rm": ("ForSequenceClassification", "ForRewardModel", "ForTokenClassification"),
    "reranker": ("ForSequenceClassification",),
    "classifier": ("ForSequenceClassification", "ForTokenClassification"),
}
_TASKS = {"FEATURE_EXTRACTION": "Model", "SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification"}


def check_base(name: Named, held: Held) -> Iterator[Finding]:
    """The word for the base model: not another model's of the policy, nor another family's."""
    word = name.base
    # Others are paths of somebody's machine.
    ids = [base for base in held.base_ids if base.count("/") <= 1 and not base.startswith((".", "/", "~"))]
    other = next((base for base, short in name.naming.short_names.items() if short == word), None)
    if other is not None and ids and word not in map(name.naming.short_base_name, ids):
        yield _of_another_base(name, other, ids[-1], held.where)
        return
    families = _families(name)
    of_ids = {family for base in ids for family in families_in(base.rpartition("/")[2])}
    known = held.architecture
    right = next((family for family in families if family in of_ids or _is_of(family, held)), None)
    said = word if "base" in name.fields else right or next(iter(families), None)
    if right is not None:
        if known is not None:
            yield name.compared("base", said, known)
    elif families and known is not None and (_is_of(families[0], held) is False or (of_ids and _declares(name))):
        # Without a place for the base's word any word may only look like a family's.
        level = ERROR if _declares(name) or not name.parsed else WARN
        held_there = known if _is_of(families[0], held) is False else Fact(ids[-1], held.where)
        yield replace(name.compared("base", said, held_there, level=level), remedy=_base_remedy(name, ids))
    elif not families and not any(word in _words_for(name, base) for base in ids):
        yield name.lacks("base", _FAMILY_IS_WANTED, _word_remedy(name, ids, "WORD"))


def _declares(name: Named) -> bool:
    """Whether the pattern has a place for the word for the base model."""
    return "base" in name.fields


def _is_of(family: str, held: Held) -> bool | None:
    """Whether the model, or the part of it that reads text, is of a family; None where nobody knows."""
    architectures = (held.architecture.value if held.architecture else None, held.text_architecture)
    verdicts = {is_of(family, architecture) for architecture in architectures if architecture}
    return True if True in verdicts else False if False in verdicts else None


def _families(name: Named) -> list[str]:
    of_data = families_in(name.dataset) if name.dataset and "base" not in name.fields else []
    return [family for family in families_in(name.base) if family not in of_data]


def check_size(name: Named, held: Held) -> Iterator[Finding]:
    """The number of parameters: one way of counting makes it right, or it is a lie."""
    sizes = sizes_in(name.plain, [name.dataset] if name.dataset else ())
    if not sizes:
        size = counted(held.parameters.value.total).lower() if held.parameters else "3.8b"
        base = name.naming.short_base_name(held.base_ids[-1]) if held.base_ids else "WORD"
        word = f"{name.fields.get('base', base)}_{size}"
        yield name.lacks("size", _SIZE_IS_WANTED, _word_remedy(name, held.base_ids, word))
        return
    if held.parameters is None:
        return
    parameters, where = held.parameters.value, held.parameters.where
    right = next((size for size in sizes if size.fits(parameters)), None)
    finding = name.compared("size", (right or sizes[0]).text, Fact(parameters.shown, where))
    if right is not None:
        yield finding
    else:
        remedy = "say what it has, or leave the size out"
        yield replace(finding, level=WARN if all(size.may_be(parameters) for size in sizes) else ERROR, remedy=remedy)


def check_task(name: Named, held: Held) -> Iterator[Finding]:
    """What it is said to be for, by the class of its model and its chat template."""
    word = next((word for word in name.words if word in _CHAT_WORDS), None)
    if word and held.chat_template is False and held.holds:
        yield Finding(
            level=WARN,
            field="task",
            name=name.text,
            said=word,
            held="no chat template",
            where=held.where,
            remedy="save the tokenizer with its chat template beside the weights, or leave the word out",
        )
    word = next((word for word in name.words if word in _HEADS), None)
    classes = (_TASKS[held.task.value],) if held.task and held.task.value in _TASKS else held.classes
    if held.task and held.task.value == "CAUSAL_LM":
        classes = ("ForCausalLM",)
    if word and classes and not any(given.endswith(_HEADS[word]) for given in classes):
        yield Finding(
            level=WARN,
            field="task",
            name=name.text,
            said=word,
            held=", ".join(classes),
            where="adapter_config.json" if ADAPTER in held.holds else "config.json",
            remedy="leave the word out, or publish the model that it is about",
        )


def _of_another_base(name: Named, other: str, base: str, where: str) -> Finding:
    return Finding(
        level=ERROR,
        field="base",
        name=name.text,
        said=f"{name.base}, which [naming.bases] has for {other}",
        held=f"of {base}",
        where=where,
        remedy=_base_remedy(name, [base]),
    )


def _base_remedy(name: Named, ids: list[str]) -> str:
    return name.corrected("base", name.naming.short_base_name(ids[-1])) if ids else "name the family that it is of"


def _word_remedy(name: Named, ids: Sequence[str], word: str) -> str:
    base = ids[-1] if ids else "org/name"
    return f'the word for a base model can say it: [naming.bases] "{base}" = "{word}"'


def _words_for(name: Named, base: str) -> set[str]:
    return {name.naming.short_base_name(base), base.rpartition("/")[2].lower()}
