"""Typed reading of a TOML table that collects every mistake with its dotted key."""

import difflib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Reader:
    """One table of a TOML document.

    A getter returns the value or, after noting what is wrong, the default: reading goes on, so
    that all mistakes are reported together. `close` notes the keys that nobody asked for. `folder`
    is the one that paths are relative to.
    """

    def __init__(self, table: Mapping[str, Any], where: str, problems: list[str], folder: Path = Path()) -> None:
        self._table = table
        self._where = where
        self._folder = folder
        self.problems = problems
        self._asked: set[str] = set()

    def text(self, key: str, default: str = "") -> str:
        return self._typed(key, str, "a string", default)

    def optional_text(self, key: str) -> str | None:
        return self._typed(key, str, "a string", None)

    def path(self, key: str, default: str) -> Path:
        # Not resolved: git knows a link in the tree by its own name.
        return Path(os.path.normpath(self._folder / self.text(key, default)))

    def optional_path(self, key: str) -> Path | None:
        text = self.optional_text(key)
        return self._folder / text if text else None

    def flag(self, key: str, default: bool) -> bool:
        return self._typed(key, bool, "true or false", default)

    def optional_flag(self, key: str) -> bool | None:
        return self._typed(key, bool, "true or false", None)

    def count(self, key: str, default: int) -> int:
        value = self._typed(key, int, "a whole number above zero", default)
        if isinstance(value, bool) or value < 1:
            self.note(key, f"must be a whole number above zero, not {value!r}")
            return default
        return value

    def number(self, key: str) -> float | None:
        value = self._get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
            self.note(key, f"must be a number above zero, not {value!r:.80}")
            return None
        return float(value)

    def fraction(self, key: str, default: T) -> float | T:
        value = self._get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.note(key, f"must be a number from 0 to 1, not {value!r}")
            return default
        return float(value)

    def texts(self, key: str, default: Sequence[str]) -> tuple[str, ...]:
        value = self._get(key)
        if value is None:
            return tuple(default)
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            self.note(key, f"must be a list of strings, not {value!r}")
            return tuple(default)
        return tuple(value)

    def choices(self, key: str, default: Sequence[str], allowed: Collection[str]) -> tuple[str, ...]:
        values = self.texts(key, default)
        for value in values:
            if value not in allowed:
                self.note(key, f"unknown {value!r}{hint(value, allowed)}")
        if twice := next((value for place, value in enumerate(values) if value in values[:place]), None):
            self.note(key, f"names {twice!r} twice")
        return tuple(value for value in values if value in allowed)

    def choice(self, key: str, default: str, allowed: Collection[str]) -> str:
        value = self.text(key, default)
        if value not in allowed:
            self.note(key, f"unknown {value!r}{hint(value, allowed)}")
        return value

    def required(self, key: str, meaning: str) -> str:
        value = self.text(key)
        if self._table.get(key, "") == "":
            self.note(key, f"is {'empty' if key in self._table else 'missing'}: {meaning}")
        return value

    def parsed(self, key: str, default: str, parse: Callable[[str], T]) -> T:
        """A string turned into something else; `parse` raises ValueError with what is wrong."""
        try:
            return parse(self.text(key, default))
        except ValueError as error:
            self.note(key, str(error))
            return parse(default)

    def table(self, key: str) -> "Reader":
        value = self._typed(key, dict, "a table", {})
        return Reader(value, self._dotted(key), self.problems, self._folder)

    def tables(self) -> Iterator[tuple[str, "Reader"]]:
        """Every entry of this table as a table of its own, in the document's order."""
        for key in self._table:
            yield key, self.table(key)

    def list_of_tables(self, key: str) -> list["Reader"]:
        """An array of tables; each is called by its number, from 1 on."""
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.note(key, f"must be a list of tables, not {value!r}")
            return []
        return [
            Reader(item, f"{self._dotted(key)}[{n}]", self.problems, self._folder) for n, item in enumerate(value, 1)
        ]

    def entries(self) -> dict[str, str]:
        """This table as strings by key."""
        return {key: self.text(key) for key in self._table}

    def keys(self) -> list[str]:
        return list(self._table)

    def has(self, key: str) -> bool:
        """Whether the table says anything of a key."""
        return key in self._table

    def is_table(self, key: str) -> bool:
        """Whether the table says of a key that it is a table."""
        return isinstance(self._table.get(key), dict)

    def note(self, key: str, problem: str) -> None:
        """Keep a mistake, once: a table may be read more than once."""
        if (noted := f"{self._dotted(key)} {problem}") not in self.problems:
            self.problems.append(noted)

    def unasked(self) -> list[str]:
        """The keys that nobody has asked for yet."""
        return [key for key in self._table if key not in self._asked]

    def close(self, known: Collection[str] = (), *, guessing: bool = False) -> None:
        """Note each key that nobody asked for: a hint names those that were, and what else is `known`; when `guessing`,
        as not all that is known can be told, those alone that are near to one."""
        for key in self.unasked():
            if nearest(key, self._asked.union(known)) or not guessing:
                self.note(key, f"is unknown{hint(key, self._asked.union(known))}")

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        return self._table.get(key)

    def _typed(self, key: str, kind: type, meaning: str, default: Any) -> Any:
        value = self._get(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            self.note(key, f"must be {meaning}, not {value!r}")
            return default
        if isinstance(value, str) and "\0" in value:  # no name, path or text has one, and systems end at it
            self.note(key, "must not have the character U+0000")
            return default
        return value

    def _dotted(self, key: str) -> str:
        # A key with a dot or a slash in it is quoted, as TOML writes it.
        name = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        return f"{self._where}.{name}" if self._where else name


def nearest(word: str, known: Collection[str]) -> str:
    """`: did you mean …?`, or nothing when nothing is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    longer = (name for name in by_lower if len(word) > 2 and name.startswith(word.lower()))
    found = near[0] if near else next(longer, None)
    return f": did you mean {by_lower[found]!r}?" if found else ""


def hint(word: str, known: Collection[str]) -> str:
    """The same, or the list of what is known when nothing is near."""
    return nearest(word, known) or (f"; known: {', '.join(sorted(known))}" if known else "")
