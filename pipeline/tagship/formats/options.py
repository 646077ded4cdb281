"""Options of the command line that belong to a format.

A package adds one by an entry point in the group `tagship.options` whose name is the option's. It is loaded
whenever tasks are listed: what it loads must import nothing heavy.
"""

from msgspec import Struct

from tagship.system.entry_points import value_of

GROUP = "tagship.options"


class FormatOption(Struct, frozen=True, kw_only=True):
    """An option with a value, which every task that works on exports takes: `help` is what `--help` says of it,
    `format` the name of the format that it belongs to."""

    help: str
    format: str


def find_option(name: str) -> FormatOption:
    """The option of that name, which is one of the group. Raises ReleaseError for what another package broke."""
    option: FormatOption = value_of(GROUP, name, FormatOption)
    return option
