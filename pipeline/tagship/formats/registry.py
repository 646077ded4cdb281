"""Formats by name. Packages add their own through the entry point group `tagship.formats`."""

from tagship.formats.protocol import Format
from tagship.system.entry_points import names_of, own_names, value_of
from tagship.system.errors import UsageError
from tagship.system.toml_reader import hint

GROUP = "tagship.formats"


def format_names() -> tuple[str, ...]:
    """The names of all formats that are installed."""
    return names_of(GROUP)


def shipped_names() -> tuple[str, ...]:
    """The names of the formats that tagship itself brings."""
    return own_names(GROUP)


def all_formats() -> tuple[Format, ...]:
    """All formats that are installed, tagship's own first. Raises as `find_format`."""
    return tuple(map(find_format, dict.fromkeys((*shipped_names(), *format_names()))))


def find_format(name: str) -> Format:
    """The format of that name. Raises UsageError when there is none, or what is installed as it is none."""
    if name not in format_names():
        raise UsageError(f"unknown format {name!r}{hint(name, format_names())}")
    found: Format = value_of(GROUP, name, Format, ("name", "card", "runtime"))
    return found
