"""What a name says: every way to read it by the policy and by its older styles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from tagship.naming.fields import FieldValue
from tagship.naming.names import ARTIFACT, EXPORT, REPO, NamePair, Names, NamingPolicy
from tagship.naming.pattern import Pattern
from tagship.naming.tags import Stream
from tagship.naming.variant import Variant

RUN, TAG = "run", "tag"
POLICY, OLDER = "policy", "older"
ARCHIVE_ENDING = ".tar.gz"


class NamedFormat(Protocol):
    """A format, as far as its names go."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> Names: ...

    @property
    def variants(self) -> Sequence[Variant]: ...


class NamingScheme(Protocol):
    """What the names of a project are made by, and so what they are read by."""

    @property
    def naming(self) -> NamingPolicy: ...

    @property
    def streams(self) -> Sequence[Stream]: ...

    @property
    def formats(self) -> Sequence[NamedFormat]: ...


class Reading(Struct, frozen=True, kw_only=True):
    """One way to read a name.

    `what` is `run`, `export`, `artifact`, `repo` or `tag`; `style` is `policy`, or `older` for one
    of the styles before it, whose pair of patterns is `pair`. `format` and `quant` are of exports,
    artifacts and repos; an older name may leave the quantization type open.
    """

    what: str
    style: str
    tagged: bool
    pattern: Pattern
    fields: Mapping[str, FieldValue]
    pair: NamePair | None = None
    format: NamedFormat | None = None
    quant: str | None = None


def read_name(name: str, scheme: NamingScheme) -> list[Reading]:
    """Every reading of a name, those by the policy first; none where nothing makes such names.

    A repo may have its namespace before it, an artifact its ending `.tar.gz`.
    """
    readings: list[Reading] = []
    for reading in (*_whole(name, scheme), *_of_formats(name, scheme)):
        if not any(_same(reading, other) for other in readings):
            readings.append(reading)
    return sorted(readings, key=lambda reading: reading.style == OLDER)


def read_as(what: str, name: str, scheme: NamingScheme) -> list[Reading]:
    """The readings of a name that is known to be of some kind."""
    return [reading for reading in read_name(name, scheme) if reading.what == what]


def _whole(name: str, scheme: NamingScheme) -> Iterator[Reading]:
    if (fields := scheme.naming.run.parse(name)) is not None:
        yield Reading(what=RUN, style=POLICY, tagged=False, pattern=scheme.naming.run, fields=fields)
    for stream in scheme.streams:
        if version := stream.version_of(name):
            fields = {"version": version}
            yield Reading(what=TAG, style=POLICY, tagged=True, pattern=stream.pattern, fields=fields)


def _of_formats(name: str, scheme: NamingScheme) -> Iterator[Reading]:
    plain = {EXPORT: name, ARTIFACT: name.removesuffix(ARCHIVE_ENDING), REPO: name.rpartition("/")[2]}
    for policy in scheme.formats:
        for what, part in plain.items():
            yield from _of_pair(part, what, POLICY, policy, policy.names.of(what))
            for pair in policy.names.older.get(what, ()):
                yield from _of_pair(part, what, OLDER, policy, pair)


def _of_pair(name: str, what: str, style: str, policy: NamedFormat, pair: NamePair) -> Iterator[Reading]:
    for tagged, pattern in ((True, pair.tagged), (False, pair.untagged)):
        if (fields := pattern.parse(name)) is not None:
            yield Reading(
                what=what,
                style=style,
                tagged=tagged,
                pattern=pattern,
                fields=fields,
                pair=pair,
                format=policy,
                quant=_quant(policy, fields),
            )


def _quant(policy: NamedFormat, fields: Mapping[str, FieldValue]) -> str | None:
    """The quantization type that the name's kind, prefix or label stands for, where it is but one."""
    named = {name: fields[name] for name in ("kind", "prefix", "label") if name in fields}
    found = {
        variant.quant
        for variant in policy.variants
        if all(getattr(variant, name) == value for name, value in named.items())
    }
    return found.pop() if len(found) == 1 else None


def _same(one: Reading, other: Reading) -> bool:
    return (one.what, one.format, one.fields) == (other.what, other.format, other.fields)
