"""Options of the command line that belong to a format.

A package adds one by an entry point in the group `tagship.options` whose name is the option's. It is loaded
whenever tasks are listed: what it loads must import nothing heavy.
"""

from dataclasses import dataclass

GROUP = "tagship.options"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOption:
    """An option with a value, which every task that plans exports takes: `help` is what `--help` says of it."""

    help: str
