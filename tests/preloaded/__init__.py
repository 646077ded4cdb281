"""Processes of tests that need not load what all of them load.

Most of a whole release of a tiny model is loading torch, transformers and PEFT in its worker: eight seconds of a
processor. Most of any other task is loading Invoke and tagship itself: one second. Here two processes have loaded
them (`server.py`), one for workers and one for tasks, and fork one for each that is started, which goes on as if it had
loaded them itself; the process that was started (`started/sitecustomize.py`, which Python runs first) waits for it, and
ends as it does. Elsewhere than on Linux, and where it is measured which lines are run, all start by themselves, as
users' do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, field

WORKERS, TASKS = "TAGSHIP_TESTS_PRELOADED_WORKERS", "TAGSHIP_TESTS_PRELOADED_TASKS"
_HERE = Path(__file__).parent


class Preloaded(Struct, frozen=True):
    """Environments in which processes are forked: `workers`, and what `tasks` have beside that; empty ones where none
    are. What kills a task, or gives it another environment to load its modules in, has it start by itself."""

    workers: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def preloaded(folder: Path) -> Iterator[Preloaded]:
    """Have processes forked, while the block runs."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        yield Preloaded()
        return
    first = os.pathsep.join(filter(None, (str(_HERE / "started"), os.environ.get("PYTHONPATH"))))
    with _server("workers", folder) as workers, _server("tasks", folder) as tasks:
        yield Preloaded(workers={WORKERS: workers, "PYTHONPATH": first}, tasks={TASKS: tasks})


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[str]:
    """The socket of a process that forks such ones."""
    socket = folder / kind
    command = [sys.executable, "-P", str(_HERE / "server.py"), kind, str(socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        try:
            server.stdout.read(1)  # it listens
            yield str(socket)
        finally:
            server.stdin.close()
