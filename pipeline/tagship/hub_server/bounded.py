"""What comes from elsewhere is read within bounds: no text of some hundred bytes may keep the server busy."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

# Ten times what the largest cards have (tables of results of hundreds of data sets), and what a commit of thousands of
# files asks beforehand.
MAX_YAML_NODES = 200_000
MAX_JSON_VALUES = 500_000
MAX_DEPTH = 50

# The same in C, ten times as quick, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_YAML_BYTES = 2_000_000 if _LOADER is not yaml.SafeLoader else 200_000
# YAML has numbers to the base of 60, 1:30:00, and takes a time that grows with the square of their length.
_NUMBER = re.compile(r"[-+]?(?:0[xb][0-9a-fA-F_]+|[0-9][0-9_:.]*)")
_NUMBER_LENGTH = 100
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_HALF = re.compile(r"[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


_NO_CHARACTER = "half of a surrogate pair, which is no character"


class OutOfBounds(ValueError):
    """The text is no YAML or JSON, or more of it than anybody needs; the message says which."""


def parse_json(text: bytes) -> Any:
    """The value that a JSON text holds. Raises OutOfBounds."""
    # Each value but the first, at least, comes after one of these.
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MAX_JSON_VALUES:
        raise OutOfBounds(f"more than {MAX_JSON_VALUES:,} values")
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise OutOfBounds("nested too deeply") from error
    except ValueError as error:
        raise OutOfBounds(str(error)) from error
    if _ESCAPED_HALF.search(text) and any(_HALF.search(string) for string in _strings(value)):
        raise OutOfBounds(_NO_CHARACTER)
    return value


def _no_number(name: str) -> Any:
    raise OutOfBounds(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _strings(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds. Raises OutOfBounds.

    Aliases count as much as what they stand for: nine lines can stand for a billion values.
    """
    if len(text) > MAX_YAML_BYTES:
        raise OutOfBounds(f"more than {MAX_YAML_BYTES:,} characters")
    try:
        _measure(text)
        value = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        # A date without that day, a number of 5,000 digits, a list as a key: what PyYAML finds out while it makes
        # the values.
        raise OutOfBounds(str(error)) from error
    if "\\u" in text.lower() and any(_HALF.search(string) for string in _strings(value)):
        raise OutOfBounds(_NO_CHARACTER)
    return value


def _measure(text: str) -> None:
    """Raises OutOfBounds for a text with too many values, aliases resolved, or too deep ones."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=_LOADER):
        size = None
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise OutOfBounds(f"the alias {event.anchor!r} stands for nothing, or for itself")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if len(event.value) > _NUMBER_LENGTH and _is_number(event):
                raise OutOfBounds(f"a number of more than {_NUMBER_LENGTH} digits")
            if event.anchor:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(open_) > MAX_DEPTH:
                raise OutOfBounds(f"nested more than {MAX_DEPTH} deep")
            open_.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            if anchor:
                sizes[anchor] = size
        if size is not None:
            anchor, before = open_.pop()
            if before + size > MAX_YAML_NODES:
                raise OutOfBounds(f"more than {MAX_YAML_NODES:,} values, aliases counted as what they stand for")
            open_.append((anchor, before + size))


def _is_number(scalar: yaml.ScalarEvent) -> bool:
    return (scalar.implicit[0] or scalar.tag in _NUMBER_TAGS) and _NUMBER.fullmatch(scalar.value) is not None
