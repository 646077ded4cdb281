"""One pattern, both ways: fields into a name, a name into fields.

A pattern is text with `{field}` or `{field:date format}` in it, as in
`{base}-{dataset}-r{rank}-{trained:%Y%m%d-%H%M%S}` (the guide, "Recommended Naming Conventions").
A pattern whose names could be read in two ways is refused.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from tagship.naming.fields import Field, FieldValue, PatternError, Vocabulary
from tagship.naming.language import text as literal
from tagship.naming.language import two_readings

RUN = "run"
_PLACEHOLDER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_INSIDE = "run__"  # before the groups of a run's own fields: a pattern may name the same field beside {run}


class _Placed(Struct, frozen=True, kw_only=True):
    """A field in its place; `group` is its group in the regular expression."""

    name: str
    group: str
    field: Field
    date_format: str | None


class Pattern:
    """A naming pattern of release.toml.

    `{run}` stands for a whole name by the pattern `run`. Raises PatternError when the text names
    an unknown field, or a field twice, gives a date no format or another one than the run inside
    gives it, or makes names that can be read in two ways.
    """

    def __init__(self, text: str, vocabulary: Vocabulary | None = None, *, run: "Pattern | None" = None) -> None:
        self.text = text
        self._run = run
        self._vocabulary = vocabulary or Vocabulary()
        self._parts = tuple(_parts(text, self._vocabulary, run))
        names = [_name(part) for part in self._parts if not isinstance(part, str)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise PatternError(f"{{{repeated[0]}}} stands twice in {text!r}")
        self.fields = frozenset(names)
        self._flat = tuple(_flat(self._parts))
        self._beside = tuple(part for part in self._placed() if RUN in names and run and part.name in run.fields)
        self._check_dates()
        self._check_one_reading()

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        # A policy has dozens of patterns, of which a command reads hardly any name by.
        return re.compile(_regex(self._parts))

    def __reduce__(self) -> tuple[object, ...]:
        # What it is made of is functions and their closures, which cannot be pickled: it is made anew.
        return _remade, (self.text, self._vocabulary, self._run)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and (other.text, other._run) == (self.text, self._run)

    def __hash__(self) -> int:
        return hash(self.text)

    def format(self, values: Mapping[str, FieldValue | None]) -> str:
        """The name for `values`; values that the pattern does not use are ignored.

        A date keeps the precision of its format. Raises PatternError when a field has no value,
        or one that could not be read back.
        """
        name = "".join(part if isinstance(part, str) else _written(part, values) for part in self._parts)
        inside = self._run.parse(str(values[RUN])) if self._run and self._beside else None
        for part in self._beside:
            written, says = _written(part, values), part.field.write((inside or {})[part.name])
            if written != says:
                raise PatternError(f"{{{part.name}}} cannot be {written!r}: the run {values[RUN]!r} says {says!r}")
        return name

    def parse(self, name: str) -> dict[str, FieldValue] | None:
        """The fields of `name`, those of the run inside it too, or None when it does not follow this pattern."""
        match = self._regex.fullmatch(name)
        if match is None:
            return None
        fields: dict[str, FieldValue] = {RUN: match[RUN]} if RUN in self.fields else {}
        for part in self._flat:
            if isinstance(part, str):
                continue
            try:
                value = part.field.read(match[part.group])
            except ValueError:  # digits that are no date, such as a month 13
                return None
            if fields.setdefault(part.name, value) != value:  # the run inside says otherwise
                return None
        return fields

    def _placed(self) -> Iterator[_Placed]:
        return (part for part in self._parts if isinstance(part, _Placed))

    def _check_dates(self) -> None:
        inside = {
            part.name: part.date_format for part in self._flat if isinstance(part, _Placed) and part.group != part.name
        }
        for part in self._beside:
            if part.date_format != inside[part.name]:
                raise PatternError(
                    f"{{{part.name}}} is {inside[part.name]!r} in {{run}}, not {part.date_format!r}: "
                    "the same date cannot be written in two ways"
                )

    def _check_one_reading(self) -> None:
        found = two_readings([literal(part) if isinstance(part, str) else part.field.language for part in self._flat])
        if found is None:
            return
        one, other = (
            ", ".join(
                f"{part.name}={spelt!r}"
                for part, spelt in zip(self._flat, reading, strict=True)
                if not isinstance(part, str)
            )
            for reading in found
        )
        raise PatternError(
            f"{self.text!r} makes names that cannot be read back: {''.join(found[0])!r} is {one}, or {other}; "
            "put text between the fields that none of them may hold"
        )


_Part = str | _Placed | Pattern


def _remade(text: str, vocabulary: Vocabulary, run: Pattern | None) -> Pattern:
    return Pattern(text, vocabulary, run=run)


def _name(part: "_Placed | Pattern") -> str:
    return RUN if isinstance(part, Pattern) else part.name


def _parts(text: str, vocabulary: Vocabulary, run: Pattern | None) -> Iterator[_Part]:
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        yield from _literal(text[end : match.start()])
        name, date_format = match[1], match[2]
        if name == RUN and run is not None:
            if date_format:
                raise PatternError("{run} is no date and takes no format")
            yield run
        else:
            field = vocabulary.find(name, date_format)
            yield _Placed(name=name, group=name, field=field, date_format=date_format)
        end = match.end()
    yield from _literal(text[end:])


def _literal(text: str) -> Iterator[str]:
    if re.search(r"[{}]", text):
        raise PatternError(f"unbalanced brace in {text!r}")
    if text:
        yield text


def _flat(parts: tuple[_Part, ...]) -> Iterator[str | _Placed]:
    for part in parts:
        if not isinstance(part, Pattern):
            yield part
            continue
        for inner in part._flat:
            yield inner if isinstance(inner, str) else replace(inner, group=_INSIDE + inner.group)


def _regex(parts: tuple[_Part, ...], inside: str = "") -> str:
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(re.escape(part))
        elif isinstance(part, Pattern):
            pieces.append(f"(?P<{RUN}>{_regex(part._parts, _INSIDE)})")
        else:
            pieces.append(f"(?P<{inside}{part.group}>{part.field.language.regex})")
    return "".join(pieces)


def _written(part: _Placed | Pattern, values: Mapping[str, FieldValue | None]) -> str:
    name = _name(part)
    value = values.get(name)
    if value is None:
        raise PatternError(f"{{{name}}} is not known")
    if isinstance(part, _Placed):
        return part.field.write(value)
    if part.parse(str(value)) is None:
        raise PatternError(f"{{run}} cannot be {value!r}: it does not follow {part.text!r}")
    return str(value)
