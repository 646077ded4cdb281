"""What people see while a release runs: steps, progress, warnings. All of it on standard error."""

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.text import Text

from tagship.system.actions import END_OF_GROUP, command, in_actions
from tagship.system.progress import Advance, silent
from tagship.system.shown import relative, shown

if TYPE_CHECKING:  # most tasks end before anybody would see them
    from tagship.system.progress_lines import ProgressLines

# Columns that a text gets in the narrowest terminal.
_LEAST = 20


class Console:
    """Writes to standard error; bars only where a person watches, one line a step elsewhere."""

    def __init__(self, *, interactive: bool | None = None) -> None:
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        watched = sys.stderr.isatty() and not os.environ.get("CI")
        self.interactive = watched if interactive is None else interactive
        folds = sys.stderr.isatty() or "COLUMNS" in os.environ  # a log keeps its lines
        self._width = self._rich.width if folds else None
        self._grouped = False

    def step(self, title: str, detail: str = "", *, folds: bool = False) -> None:
        """Announce what begins now. In the log of GitHub Actions one that `folds` is a group, until the next one."""
        self._end_group()
        title = _shown(title)
        if folds and in_actions():
            self._grouped = True
            self._command(command("group", f"{title}  {_shown(detail)}".rstrip()))
            return
        self._rich.print(self._folded("", _shown(f"  {detail}") if detail else "", f"[bold]{escape(title)}[/bold]"))

    def note(self, text: str, *, depth: int = 1) -> None:
        """A line under the step, or `depth` 2, under a note; folded between words where a terminal is too narrow."""
        self._rich.print(self._folded("  " * depth, _shown(text)))

    def line(self, text: str) -> None:
        """A line under the step that people copy: it is never folded."""
        self._rich.print(f"  {escape(_shown(text))}")

    def rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Lines under the step, in columns; where the terminal is too narrow for one of them, the last column of all
        stands below the others. Nothing is folded or padded, so that it can be copied."""
        widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
        heads = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)) for row in rows]
        narrow = any(len(f"  {head}  {row[-1]}") > self._rich.width for head, row in zip(heads, rows, strict=True))
        for head, row in zip(heads, rows, strict=True):
            self.note(head.rstrip() if narrow else f"{head}  {row[-1]}")
            if narrow:
                self.note(row[-1], depth=2)

    def warn(self, text: str, remedy: str | None) -> None:
        """Something that does not stop the release, and what mends it."""
        mended = f" ({_shown(remedy)})" if remedy else ""
        self._rich.print(self._folded("  ", f"{_shown(text)}{mended}", "[bold yellow]warning:[/bold yellow] "))

    def fail(self, text: str, remedy: str | None) -> None:
        """The end of a release that failed."""
        self._end_group()
        self._rich.print(self._folded("", _shown(text), "[bold red]error:[/bold red] "))
        if remedy:
            self._rich.print(f"  [bold]remedy:[/bold] {escape(_shown(remedy))}")

    def _end_group(self) -> None:
        if self._grouped:
            self._grouped = False
            self._command(END_OF_GROUP)

    def _command(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _folded(self, indent: str, text: str, mark: str = "") -> str:
        """A text in markup, each of its lines folded between words; `mark` is what stands before it, in markup."""
        if self._width is None:
            return f"{indent}{mark}{escape(text)}"
        before = indent + "x" * len(Text.from_markup(mark))
        lines = folded(text, self._width, after=f"{indent}  ", before=before)
        return f"{indent}{mark}{escape(lines[len(before) :])}"

    @contextmanager
    def bytes(self, label: str, total: int) -> Iterator[Advance]:
        """Progress in bytes: yields what to call with each number of bytes done."""
        if not self.interactive:
            yield silent
            return
        with self._lines.bytes(_shown(label), total) as advance:
            yield advance

    @contextmanager
    def working(self, label: str, seconds: float | None = None) -> Iterator[None]:
        """Shows that something goes on, for how long already, and about how many seconds it will take, where that is
        known."""
        if not self.interactive:
            yield
            return
        with self._lines.working(_shown(label), seconds):
            yield

    @cached_property
    def _lines(self) -> "ProgressLines":
        from tagship.system.progress_lines import ProgressLines

        return ProgressLines(self._rich)


def folded(text: str, width: int, *, after: str, before: str = "") -> str:
    """A text whose lines are folded between words at `width` columns; a word that is wider stays whole. `before` stands
    before the text, `after` before what is folded."""
    lines: list[str] = []
    for line in text.split("\n"):
        own = line[: len(line) - len(line.lstrip(" "))]
        lines += textwrap.wrap(
            line.lstrip(" "),
            max(width, len(after) + _LEAST),
            initial_indent=own if lines else before + own,
            subsequent_indent=after,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [own if lines else before + own]
    return "\n".join(lines)


def _shown(text: str) -> str:
    """A text as a terminal gets it, with paths relative to where people stand."""
    return shown(relative(text))
