"""The fields that names are made of: what each may hold, so that a name can be read back.

| field | holds |
|---|---|
| base, dataset, name | a word: letters, digits, `.` and `_`; no hyphen, which separates fields |
| rank, alpha, epochs | a whole number |
| trained, exported | a date, by the format that the pattern gives it |
| run | a run's whole name, by `[naming] run` |
| kind, prefix, label | one of what the formats bring |
| version | a SemVer version, or the full name of another tag |
"""

import re
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct, field

from tagship.naming.language import Language, letters, one_of, repeated, sequence, text
from tagship.naming.version import is_semver

FieldValue = str | int | datetime

WORD, NUMBER = "word", "number"
RUN_FIELDS: Mapping[str, str] = {
    "base": WORD,
    "dataset": WORD,
    "name": WORD,
    "rank": NUMBER,
    "alpha": NUMBER,
    "epochs": NUMBER,
}
DATES = ("trained", "exported")
_DIGIT = letters(string.digits)
_NUMBER = repeated(_DIGIT, at_least=1)
_WORD = repeated(letters(string.ascii_letters + string.digits + "._"), at_least=1)
_DIRECTIVES = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}


class PatternError(ValueError):
    """A pattern is wrong, or a value does not fit its field."""


class Field(Protocol):
    """How one field is written and read; both raise ValueError."""

    language: Language

    def write(self, value: FieldValue) -> str: ...

    def read(self, written: str) -> FieldValue: ...


class Vocabulary(Struct, frozen=True, kw_only=True):
    """What a pattern may name beyond the words and numbers of every run.

    `own` are the policy's own fields (`[naming.fields]`): a name, and `word` or `number`.
    `choices` are fields with a fixed set of values. `plus` is what stands for SemVer's `+`:
    `_`, which is in no SemVer version, where names may have no `+`.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    dates: tuple[str, ...] = DATES
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: bool = True
    plus: str = "+"

    def names(self) -> tuple[str, ...]:
        """All fields that a pattern may name, but for `run`."""
        return (*RUN_FIELDS, *self.own, *self.dates, *self.choices, *(("version",) if self.version else ()))

    def find(self, name: str, date_format: str | None) -> Field:
        """The field of that name. Raises PatternError for one that is unknown or wrongly written."""
        if name not in self.names():
            raise PatternError(f"unknown field {{{name}}}; known are {', '.join(self.names())}")
        if name in self.dates:
            return _Date(name, date_format)
        if date_format:
            raise PatternError(f"{{{name}}} is no date and takes no format")
        if name in self.choices:
            return _Text(name, one_of(*self.choices[name]))
        if name == "version":
            return _Version(self.plus)
        kind = RUN_FIELDS.get(name) or self.own.get(name)
        return _Text(name, _WORD) if kind == WORD else _Number(name)


class _Text:
    def __init__(self, name: str, language: Language) -> None:
        self.name = name
        self.language = language

    def write(self, value: FieldValue) -> str:
        written = str(value)
        if not re.fullmatch(self.language.regex, written):
            raise PatternError(f"{{{self.name}}} cannot be {written!r}: it must match {_shown(self.language.regex)}")
        return written

    def read(self, written: str) -> FieldValue:
        return written


class _Number(_Text):
    def __init__(self, name: str) -> None:
        super().__init__(name, _NUMBER)

    def read(self, written: str) -> FieldValue:
        return int(written)


class _Version(_Text):
    """SemVer, or any tag's name: "Other tags: uses full tag name as version" (the guide)."""

    def __init__(self, plus: str) -> None:
        start = letters(string.ascii_letters + string.digits)
        rest = letters(string.ascii_letters + string.digits + "._-" + plus)
        super().__init__("version", sequence(start, repeated(rest, at_least=0)))
        self._plus = plus

    def write(self, value: FieldValue) -> str:
        written = super().write(str(value).replace("+", self._plus))
        if self.read(written) != value:
            raise PatternError(f"{{version}} cannot be {value!r} where '+' is written as {self._plus!r}")
        return written

    def read(self, written: str) -> FieldValue:
        if self._plus == "+":
            return written
        mapped = written.replace(self._plus, "+", 1)
        return mapped if is_semver(mapped) else written


class _Date:
    def __init__(self, name: str, date_format: str | None) -> None:
        directives = re.findall(r"%.?", date_format or "")
        if not date_format or not directives:
            raise PatternError(f"{{{name}}} is a date: write it as {{{name}:%Y%m%d-%H%M%S}}")
        for directive in directives:
            if directive not in _DIRECTIVES:
                raise PatternError(f"unknown {directive!r} in {{{name}}}; known are {' '.join(_DIRECTIVES)}")
            if directives.count(directive) > 1:
                raise PatternError(f"{directive!r} stands twice in {{{name}}}")
        if missing := next((known for known in _DIRECTIVES if known not in directives), None):
            coarser = list(_DIRECTIVES)[list(_DIRECTIVES).index(missing) :]
            if missing in ("%Y", "%m", "%d") or any(directive in coarser for directive in directives):
                raise PatternError(f"{{{name}}} needs {missing!r}: a date has a year, a month and a day")
        self.name = name
        self._format = date_format
        pieces = [piece for piece in re.split(r"(%.)", date_format) if piece]
        self.language = sequence(
            *(sequence(*[_DIGIT] * _DIRECTIVES[piece]) if piece in _DIRECTIVES else text(piece) for piece in pieces)
        )

    def write(self, value: FieldValue) -> str:
        written = value.astimezone(UTC).strftime(self._format) if isinstance(value, datetime) else str(value)
        if not isinstance(value, datetime) or not re.fullmatch(self.language.regex, written):
            raise PatternError(f"{{{self.name}}} cannot be {written!r}: it must be a date from the year 1000 on")
        return written

    def read(self, written: str) -> FieldValue:
        return datetime.strptime(written, self._format).replace(tzinfo=UTC)


def _shown(regex: str) -> str:
    """A class of letters as people write it."""
    for letters_, short in ((string.digits, "0-9"), (string.ascii_uppercase, "A-Z"), (string.ascii_lowercase, "a-z")):
        regex = regex.replace(letters_, short)
    return regex.replace("(?:", "(")
