"""Lines that show how far something is, while somebody watches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Timer

from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from tagship.system.progress import Advance

# Seconds until people see that something goes on, and from which on they see how long it will.
_SOON, _LONG = 1.0, 10.0


class ProgressLines:
    """The lines of one terminal. Each is seen after a second, and gone at the end; of several, one in another, it is
    the innermost."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[_Line] = []

    @contextmanager
    def bytes(self, label: str, total: int) -> Iterator[Advance]:
        """A line with a bar: yields what to call with each number of bytes done."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            _Remaining(),
        )
        with self._line(columns, label, total) as advance:
            yield advance

    @contextmanager
    def working(self, label: str, seconds: float | None) -> Iterator[None]:
        """A line with the time that it takes already, and about how many `seconds` it will, where that is known."""
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        if seconds is not None and seconds > _LONG:
            columns.append(TextColumn(f"of about {timedelta(seconds=round(seconds))}"))
        with self._line(columns, label, None):
            yield

    @contextmanager
    def _line(self, columns: Iterable[ProgressColumn], label: str, total: int | None) -> Iterator[Advance]:
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(escape(label), total=total, visible=False)
            line = _Line(progress=progress, task=task)
            timer = Timer(_SOON, self._is_due, (line,))
            timer.daemon = True
            self._lines.append(line)
            self._show_innermost()
            timer.start()
            try:
                yield lambda done: progress.advance(task, done)
            finally:
                timer.cancel()
                self._lines.remove(line)
                self._show_innermost()

    def _is_due(self, line: "_Line") -> None:
        line.due = True
        self._show_innermost()

    def _show_innermost(self) -> None:
        for line in self._lines:
            line.progress.update(line.task, visible=line.due and line is self._lines[-1])


class _Line(Struct, kw_only=True, eq=False):
    """A line of progress; `due` is whether its second is over."""

    progress: Progress
    task: TaskID
    due: bool = False


class _Remaining(TimeRemainingColumn):
    """The time that is left of what takes long enough for anybody to ask."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return super().render(task) if left is not None and (task.elapsed or 0) + left > _LONG else Text()
