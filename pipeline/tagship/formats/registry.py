"""Formats by name. Packages add their own through the entry point group `tagship.formats`."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from tagship.formats.protocol import Format
from tagship.system.errors import UsageError
from tagship.system.toml_reader import hint

GROUP = "tagship.formats"


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def format_names() -> tuple[str, ...]:
    """The names of all formats that are installed."""
    return tuple(sorted(_found()))


def find_format(name: str) -> Format:
    """The format of that name. Raises UsageError when there is none."""
    point = _found().get(name)
    if point is None:
        raise UsageError(f"unknown format {name!r}{hint(name, format_names())}")
    loaded: Format = point.load()
    return loaded
