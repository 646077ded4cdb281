"""One pattern, both ways: fields into a name, a name into fields.

A pattern is text with `{field}` or `{field:date format}` in it, as in
`{base}-{dataset}-r{rank}-{trained:%Y%m%d-%H%M%S}` (the guide, "Recommended Naming
Conventions"). What a field may hold is fixed by its name, so that a name can be read back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

FieldValue = str | int | datetime

# A word has no hyphen: the hyphen separates fields.
_WORD = r"[A-Za-z0-9._]+"
_NUMBER = r"[0-9]+"
_NAME = r"[A-Za-z0-9._-]+"
# SemVer 2.0, or any tag name: "Other tags: uses full tag name as version" (the guide).
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]*"

FIELDS: Mapping[str, str] = {
    "base": _WORD,
    "dataset": _WORD,
    "rank": _NUMBER,
    "alpha": _NUMBER,
    "epochs": _NUMBER,
    "run": _NAME,
    "kind": _WORD,
    "prefix": _NAME,
    "label": _NAME,
    "version": _VERSION,
    "trained": "",
    "exported": "",
}
_DATES = {name for name, allowed in FIELDS.items() if not allowed}
_DATE_DIRECTIVES = {
    "%Y": r"[0-9]{4}",
    "%m": r"[0-9]{2}",
    "%d": r"[0-9]{2}",
    "%H": r"[0-9]{2}",
    "%M": r"[0-9]{2}",
    "%S": r"[0-9]{2}",
}
_PLACEHOLDER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


class PatternError(ValueError):
    """The pattern itself is wrong, or a value does not fit its field."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    date_format: str

    @property
    def regex(self) -> str:
        if not self.date_format:
            return FIELDS[self.name]
        pieces = re.split(r"(%.)", self.date_format)
        return "".join(_DATE_DIRECTIVES.get(piece) or re.escape(piece) for piece in pieces)

    def format(self, value: FieldValue) -> str:
        if self.date_format and isinstance(value, datetime):
            return value.astimezone(UTC).strftime(self.date_format)
        text = str(value)
        if self.date_format or not re.fullmatch(self.regex, text):
            must = "be a date" if self.date_format else f"match {self.regex}"
            raise PatternError(f"{{{self.name}}} cannot be {text!r}: it must {must}")
        return text

    def parse(self, text: str) -> FieldValue:
        if self.date_format:
            return datetime.strptime(text, self.date_format).replace(tzinfo=UTC)
        return int(text) if FIELDS[self.name] is _NUMBER else text


class Pattern:
    """A naming pattern of release.toml.

    Raises PatternError when the text names an unknown field, a field twice, or gives a date
    field no date format.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[str | _Field] = []
        end = 0
        for match in _PLACEHOLDER.finditer(text):
            self._parts += [text[end : match.start()], _field(match[1], match[2])]
            end = match.end()
        self._parts.append(text[end:])
        if stray := [part for part in self._parts if isinstance(part, str) and re.search(r"[{}]", part)]:
            raise PatternError(f"unbalanced brace in {stray[0]!r}")
        names = [part.name for part in self._parts if isinstance(part, _Field)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise PatternError(f"{{{repeated[0]}}} stands twice in {text!r}")
        self.fields = frozenset(names)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def format(self, values: Mapping[str, FieldValue | None]) -> str:
        """The name for `values`; values that the pattern does not use are ignored.

        Raises PatternError when a field has no value or one that could not be read back.
        """
        return "".join(
            part if isinstance(part, str) else part.format(_present(values, part.name)) for part in self._parts
        )

    def parse(self, name: str) -> dict[str, FieldValue] | None:
        """The fields of `name`, or None when the name does not follow this pattern."""
        match = re.fullmatch(self.regex, name)
        if match is None:
            return None
        fields = [part for part in self._parts if isinstance(part, _Field)]
        try:
            return {field.name: field.parse(match[field.name]) for field in fields}
        except ValueError:  # digits that are no date, such as a month 13
            return None

    @property
    def regex(self) -> str:
        """The regular expression that names of this pattern match, a group for each field."""
        return "".join(
            re.escape(part) if isinstance(part, str) else f"(?P<{part.name}>{part.regex})" for part in self._parts
        )


def _field(name: str, date_format: str | None) -> _Field:
    if name not in FIELDS:
        raise PatternError(f"unknown field {{{name}}}; known are {', '.join(FIELDS)}")
    directives = re.findall(r"%.?", date_format or "")
    if name in _DATES and not directives:
        raise PatternError(f"{{{name}}} is a date: write it as {{{name}:%Y%m%d-%H%M%S}}")
    if name not in _DATES and date_format:
        raise PatternError(f"{{{name}}} is no date and takes no format")
    for directive in directives:
        if directive not in _DATE_DIRECTIVES:
            raise PatternError(f"unknown {directive!r} in {{{name}}}; known are {' '.join(_DATE_DIRECTIVES)}")
        if directives.count(directive) > 1:
            raise PatternError(f"{directive!r} stands twice in {{{name}}}")
    return _Field(name, date_format or "")


def _present(values: Mapping[str, FieldValue | None], name: str) -> FieldValue:
    value = values.get(name)
    if value is None:
        raise PatternError(f"{{{name}}} is not known")
    return value
