"""What people see while a release runs: steps, progress, warnings. All of it on standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.table import Table

from tagship.system.actions import END_OF_GROUP, command, in_actions
from tagship.system.progress import Advance, silent
from tagship.system.shown import shown


class Console:
    """Writes to standard error; bars only where a person watches, one line a step elsewhere."""

    def __init__(self, *, interactive: bool | None = None) -> None:
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        watched = sys.stderr.isatty() and not os.environ.get("CI")
        self.interactive = watched if interactive is None else interactive
        self._folded = False

    def step(self, title: str, detail: str = "", *, folds: bool = False) -> None:
        """Announce what begins now. In the log of GitHub Actions one that `folds` is a group, until the next one."""
        self._unfold()
        if folds and in_actions():
            self._folded = True
            self._command(command("group", shown(f"{title}  {detail}".rstrip())))
            return
        self._rich.print(f"[bold]{escape(shown(title))}[/bold]" + (f"  {escape(shown(detail))}" if detail else ""))

    def note(self, text: str) -> None:
        """A line under the step."""
        self._rich.print(f"  {escape(shown(text))}")

    def show(self, table: Table) -> None:
        """A table under the step; its lines are never folded, so that they can be copied. What others wrote in it is
        for the caller to have `shown`."""
        padded = Padding(table, (0, 0, 0, 2), expand=False)
        width = Measurement.get(self._rich, self._rich.options.update(max_width=10_000), padded).maximum
        RichConsole(stderr=True, highlight=False, width=width).print(padded, soft_wrap=True)

    def warn(self, text: str, remedy: str | None) -> None:
        """Something that does not stop the release, and what mends it."""
        mended = f" ({escape(shown(remedy))})" if remedy else ""
        self._rich.print(f"  [bold yellow]warning:[/bold yellow] {escape(shown(text))}{mended}")

    def fail(self, text: str, remedy: str | None) -> None:
        """The end of a release that failed."""
        self._unfold()
        self._rich.print(f"[bold red]error:[/bold red] {escape(shown(text))}")
        if remedy:
            self._rich.print(f"  [bold]remedy:[/bold] {escape(shown(remedy))}")

    def _unfold(self) -> None:
        if self._folded:
            self._folded = False
            self._command(END_OF_GROUP)

    def _command(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    @contextmanager
    def bytes(self, label: str, total: int) -> Iterator[Advance]:
        """Progress in bytes: yields what to call with each number of bytes done."""
        if not self.interactive:
            yield silent
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._rich, transient=True) as progress:
            task = progress.add_task(escape(shown(label)), total=total)
            yield lambda done: progress.advance(task, done)

    @contextmanager
    def working(self, label: str) -> Iterator[None]:
        """Shows that something goes on whose length is not known."""
        if not self.interactive:
            yield
            return
        with self._rich.status(escape(shown(label))):
            yield
