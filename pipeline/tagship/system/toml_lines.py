"""Where a key stands in a TOML file. The parser does not tell, and people look for the line."""

import re
from collections.abc import Iterator

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_ARRAY = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
# A part of a key in a message, which may be followed by the number of a table in an array.
_STEP = re.compile(rf"({_PART})((?:\[\d+\])?)\.?")
_FENCES = ('"' * 3, "'" * 3)

_Path = tuple[str, ...]


def line_of(document: str, key: str) -> int:
    """The line, from 1 on, of a dotted key as messages name it, such as `formats.ollama.quants` or
    `naming.older.repo[2].tagged`; of a key that is not there, that of the nearest table that should have it."""
    wanted = _steps(key)
    lines: dict[_Path, int] = {}
    for number, path in _keys(document):
        lines.setdefault(path, number)
    for length in range(len(wanted), 0, -1):
        path = wanted[:length]
        if found := lines.get(path) or lines.get((*path[:-1], path[-1] + "[1]")):
            return found
    return 1


def _steps(key: str) -> _Path:
    """The steps of a dotted key, with which a message begins."""
    steps, position = [], 0
    while found := _STEP.match(key, position):
        steps.append(_plain(found[1]) + found[2])
        position = found.end()
        if not found[0].endswith("."):
            break
    return tuple(steps)


def _keys(document: str) -> Iterator[tuple[int, _Path]]:
    """Every table and key with its line; what is in strings of several lines is none."""
    table: _Path = ()
    counted: dict[_Path, int] = {}
    fence = ""
    for number, line in enumerate(document.splitlines(), 1):
        if fence:
            fence = "" if line.count(fence) % 2 else fence
            continue
        if found := _ARRAY.match(line):
            path = _parts(found[1])
            counted[path] = counted.get(path, 0) + 1
            table = (*path[:-1], f"{path[-1]}[{counted[path]}]")
            yield number, table
        elif found := _TABLE.match(line):
            table = _parts(found[1])
            yield number, table
        elif found := _KEY.match(line):
            parts = _parts(found[1])
            yield from ((number, (*table, *parts[:length])) for length in range(1, len(parts) + 1))
        fence = next((each for each in _FENCES if line.count(each) % 2), "")


def _parts(dotted: str) -> _Path:
    return tuple(_plain(part) for part in re.findall(_PART, dotted))


def _plain(part: str) -> str:
    return part[1:-1] if part[0] in "\"'" else part
