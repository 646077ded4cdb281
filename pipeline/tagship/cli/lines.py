"""What a verb answers people on standard output: lines that fit a terminal, and are left whole for other programs."""

import sys
from collections.abc import Iterable

from tagship.cli.help import terminal_width
from tagship.system.console import folded
from tagship.system.shown import relative


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, with paths relative to where people stand; in a terminal they are folded between words."""
    for line in map(relative, lines):
        if not sys.stdout.isatty():
            print(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        print(folded(line, terminal_width(), after=f"{indent}  "))
