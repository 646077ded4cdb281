"""`[naming]`: how each kind of name is made, for all formats and for one, now and in former days."""

import re
from collections.abc import Iterable, Mapping, Sequence

from tagship.naming.fields import DATES, NUMBER, RUN_FIELDS, WORD, PatternError, Vocabulary
from tagship.naming.name_rules import PLUS_IN_REPO_NAMES
from tagship.naming.names import ARTIFACT, EXPORT, REPO, NamePair, Names, NamingPolicy, Texts
from tagship.naming.pattern import Pattern
from tagship.naming.variant import Variant
from tagship.policy.hub import PER_MODEL
from tagship.system.toml_reader import Reader

RUN_PATTERN = "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}"
_NAMES = {
    EXPORT: ("{run}-{kind}-v{version}", "{run}-{kind}-{exported:%Y%m%d-%H%M%S}"),
    ARTIFACT: ("{prefix}-{run}-v{version}", "{prefix}-{run}"),
    REPO: ("{base}-{dataset}-{label}-v{version}", "{run}-{label}-{exported:%Y%m%d-%H%M%S}"),
}
# Of repos that have all versions of a model. What has no version gets a repo of its own there, too.
_OF_MODELS = ("{base}-{dataset}-{label}", _NAMES[REPO][1])
_OF_ONE_VERSION = ("version", "exported")
# The styles before version tags (the guide, "Migration from Date-Based Naming").
_OLDER = {
    ARTIFACT: [("{prefix}-adapter-v{version}", "{prefix}-adapter-{exported:%Y%m%d}")],
    REPO: [("{base}-{dataset}-{label}-v{version}", "{base}-{dataset}-{label}-{exported:%Y%m%d}")],
}
# Stands in for a pattern that was refused, until all mistakes of release.toml are reported.
_REFUSED = Pattern("{name}")


def read_naming(naming: Reader, *, tags_versions: bool = False) -> NamingPolicy:
    """The table `[naming]`, but for whether its general patterns fit the formats: `check_general`. With
    `tags_versions` a repo has all versions of a model."""
    defaults = _NAMES | ({REPO: _OF_MODELS} if tags_versions else {})
    own = _own_fields(naming.table("fields"))
    # A run is named before there is a version or an export.
    run = Vocabulary(own=own, dates=("trained",), version=False)
    policy = NamingPolicy(
        run=naming.parsed("run", RUN_PATTERN, lambda text: Pattern(text, run)),
        short_names=_short_names(naming.table("bases")),
        own_fields=own,
        texts={kind: _texts(naming.table(kind), texts) for kind, texts in defaults.items()},
        older=_older(naming.table("older")),
        tags_versions=tags_versions,
    )
    naming.close()
    return policy


def check_general(
    naming: Reader,
    policy: NamingPolicy,
    variants: Mapping[str, Sequence[Variant]],
    shared: Sequence[Variant] = (),
) -> None:
    """Note the mistakes of the patterns for all formats, which must fit any of their `variants`, and those for repos
    what is `shared` too."""
    every = [variant for several in variants.values() for variant in several]
    choices = _choices(every)
    for kind, texts in policy.texts.items():
        pair = _pair(naming.table(kind), kind, texts, policy, _choices([*every, *shared]) if kind == REPO else choices)
        if kind == REPO and policy.tags_versions:
            _check_all_versions(naming.table(kind), pair)
    former = _former(choices, variants)
    older = naming.table("older")
    for kind, pairs in policy.older.items():
        tables = older.list_of_tables(kind) if older.has(kind) else [older.table(kind)] * len(pairs)
        for table, texts in zip(tables, pairs, strict=True):
            _pair(table, kind, texts, policy, former)


def read_names(
    table: Reader, policy: NamingPolicy, form: str, variants: Sequence[Variant], shared: Variant | None = None
) -> Names:
    """One format's names: what its table says, else the general patterns. `shared` is what of names a repo of several
    variants has."""
    choices = _choices(variants)
    of_repos = _choices([*variants, shared]) if shared else choices
    pairs = {}
    for kind, texts in policy.texts.items():
        own = table.table(kind)
        fitting = of_repos if kind == REPO else choices
        pairs[kind] = _pair(own, kind, _texts(own, texts), policy, fitting, noted=own.keys())
    if policy.tags_versions and table.table(REPO).has("tagged"):
        _check_all_versions(table.table(REPO), pairs[REPO])
    former = _former(choices, [form])
    older = {
        kind: tuple(_pair(table, kind, texts, policy, former, noted=()) for texts in pairs_of_kind)
        for kind, pairs_of_kind in policy.older.items()
    }
    return Names(export=pairs[EXPORT], artifact=pairs[ARTIFACT], repo=pairs[REPO], older=older)


def _check_all_versions(table: Reader, pair: NamePair) -> None:
    """Note what a repo's name cannot have where a repo has all versions of a model."""
    for field in sorted(pair.tagged.fields.intersection(_OF_ONE_VERSION)):
        table.note("tagged", f"has {{{field}}}, but with [hub] layout = {PER_MODEL!r} a repo has all versions")


def _pair(
    table: Reader,
    kind: str,
    texts: Texts,
    policy: NamingPolicy,
    choices: Mapping[str, tuple[str, ...]],
    *,
    noted: Sequence[str] = ("tagged", "untagged"),
) -> NamePair:
    """The pair of patterns for a kind of name; mistakes of the keys `noted` are the table's own."""
    patterns = []
    for key, text, version in zip(("tagged", "untagged"), texts, (True, False), strict=True):
        plus = PLUS_IN_REPO_NAMES if kind == REPO else "+"
        vocabulary = Vocabulary(own=policy.own_fields, choices=choices, version=version, plus=plus)
        try:
            patterns.append(Pattern(text, vocabulary, run=policy.run))
        except PatternError as error:
            if key in noted:
                table.note(key, str(error))
            patterns.append(_REFUSED)
    return NamePair(tagged=patterns[0], untagged=patterns[1])


def _texts(table: Reader, default: Texts) -> Texts:
    texts = (table.text("tagged", default[0]), table.text("untagged", default[1]))
    table.close()
    return texts


def _older(table: Reader) -> dict[str, list[Texts]]:
    older = {}
    for kind, default in _OLDER.items():
        given = table.list_of_tables(kind)
        for pair in given:
            pair.required("tagged", "what its names become when they get a version")
            pair.required("untagged", "the pattern of the names that there are")
        older[kind] = [_texts(pair, ("", "")) for pair in given] if table.has(kind) else default
    table.close()
    return older


def _choices(variants: Sequence[Variant]) -> dict[str, tuple[str, ...]]:
    names = {name: [getattr(variant, name) for variant in variants] for name in ("kind", "prefix", "label")}
    return {name: tuple(dict.fromkeys(values)) for name, values in names.items()}


def _former(choices: Mapping[str, tuple[str, ...]], forms: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What an older style's fields may hold: also the plain names of formats."""
    return {name: tuple(dict.fromkeys([*values, *forms])) for name, values in choices.items()}


def _short_names(table: Reader) -> dict[str, str]:
    bases = table.keys()
    names = {base: table.required(base, "the word that names have for this base") for base in bases}
    for base, name in names.items():
        if name and not Pattern("{base}").parse(name):
            table.note(base, f"may only have letters, digits, '.' and '_', not {name!r}: '-' separates fields")
    return names


def _own_fields(table: Reader) -> dict[str, str]:
    fields, names = {}, table.keys()
    for name in names:
        kind = table.choice(name, WORD, (WORD, NUMBER))
        taken = name in (*RUN_FIELDS, *DATES, "run", "kind", "prefix", "label", "version")
        if taken or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name):
            table.note(
                name, "cannot be the name of a field: it is taken, or not made of letters, digits and single '_'"
            )
        else:
            fields[name] = kind
    return fields
