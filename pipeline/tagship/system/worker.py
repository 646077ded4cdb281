"""Work that foreign code has a part in, done in a process of its own: a crash there is reported, and ends nothing here.

A worker does one piece of work after the other, as starting it costs more than most small ones take. It has no token of
the Hub and no other secret of this process, and asks no network. It ends with this process, whatever ended that.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tagship.system.errors import Killed, ReleaseError, ToolError
from tagship.system.files import scratch_folder
from tagship.system.progress import Advance, silent
from tagship.system.secrets import without_secrets

_SCRATCH = "tagship-worker"
# Enough for a Python traceback and the lines of a library before it, which say why: lines, the characters of one, and
# the bytes that are read for them.
_TAIL_LINES, _LONGEST_LINE, _TAIL_BYTES = 25, 500, 1 << 16
# Seconds that a process gets to end by itself: one whose interpreter is held by a library does not hear that it should.
_ENDS_WITHIN = 5
# All that a worker loads is on this disk; what it prints is only read when it fails.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_TOKEN_PATH": os.devnull,  # where `hf auth login` keeps one
    "HF_OIDC_RESOURCE": "",  # by which the client would ask for one
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait slow each other down on a busy machine
}
_WHEN_KILLED = (
    "the system kills what takes more memory than there is: close other programs, or use a larger machine; the same "
    "command goes on where this one stopped"
)
_KINDS = {kind.__name__: kind for kind in (ReleaseError, ToolError)}


class Worker:
    """A process that calls functions for this one; it ends with the `with` block, or by `close`.

    `title` is what lists of processes show. The process begins by importing `modules`, without being asked: what takes
    them is told, when it is asked for, of those that are not there. What is exchanged as files is in `folder`.
    """

    def __init__(self, title: str, modules: Sequence[str] = ()) -> None:
        self._owned = ExitStack()
        self.folder = self._owned.enter_context(scratch_folder(_SCRATCH))
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # Not from where the user stands, whose own modules may have any name.
                [sys.executable, "-P", "-m", "tagship.system.worker_process", title, str(self.folder), *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,  # of its own, with all that libraries start in it
                env=without_secrets(os.environ) | _ENVIRONMENT | self._places(),
            )

    def _places(self) -> dict[str, str]:
        """Where the process puts what is of no use when it has ended: temporary files, and what transformers copies of
        a model's own code."""
        return {"TMPDIR": str(self.folder), "HF_MODULES_CACHE": str(self.folder / "modules")}

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, failure: str, function: Callable[..., None], *arguments: Any, advance: Advance | None = None
    ) -> None:
        """Have a function of a module called with arguments that can be pickled, and, where `advance` is given, with
        one more that it counts its progress by. What it makes it leaves in files: nothing else is taken from there.

        Raises what it raises of ReleaseError and ToolError; anything else ends the process. Then raises ToolError
        (Killed, where it was ended from outside) that begins with `failure` and has the end of what was printed; the
        worker cannot be used any more.
        """
        before = self._log.stat().st_size  # of other work
        asked = self.folder / "asked.pickle"
        asked.write_bytes(pickle.dumps((function, arguments, advance is not None)))
        with suppress(BrokenPipeError):  # it ended already: the missing answer below says so
            print(asked, file=_pipe(self._process.stdin), flush=True)
        for line in _pipe(self._process.stdout):
            said = json.loads(line)
            if "done" not in said:
                _raise_refusal(said)
                return
            (advance or silent)(said["done"])
        code = self._process.wait()
        printed = self._printed(before)
        self.close()
        told = f"{failure} ({_ending(code)})" + _tail(printed)
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise Killed(told, remedy=_WHEN_KILLED)
        raise ToolError(told)

    def _printed(self, before: int) -> str:
        """The end of what was printed since the log was so long, or, where that is nothing, of all."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES, before if size > before else 0))
            return log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process, also in the midst of its work, and whatever libraries have started there."""
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # a request that it did not live to read
                _pipe(stream).close()
        try:
            self._process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError, PermissionError):  # nothing is left of it; as macOS says that
            os.killpg(self._process.pid, signal.SIGKILL)
        self._owned.close()


def write_reply(path: Path, answer: Any) -> None:
    """In the worker: leave an answer, as JSON has it, in a file. What templates make of a text need not be one that
    UTF-8 knows: it is escaped."""
    path.write_text(json.dumps(answer), encoding="ascii")


def read_reply(path: Path) -> Any:
    """What a worker left."""
    return json.loads(path.read_text(encoding="ascii"))


Lend = Callable[[], AbstractContextManager[Worker | None]]
_LENT: ContextVar[Lend] = ContextVar("lent", default=nullcontext)


@contextmanager
def lending(lend: Lend) -> Iterator[None]:
    """Have `any_worker` take what `lend` gives, where it gives one, in the block."""
    before = _LENT.set(lend)
    try:
        yield
    finally:
        _LENT.reset(before)


@contextmanager
def any_worker(title: str) -> Iterator[Worker]:
    """A worker for what has torch and transformers loaded: one that is there for something else and is lent
    (`lending`), as loading them takes seconds, else one that ends with the block."""
    with _LENT.get()() as lent:
        if lent is not None:
            yield lent
            return
    with Worker(title) as worker:
        yield worker


def _raise_refusal(said: dict[str, Any]) -> None:
    if "refused" in said:
        raise _KINDS[said["kind"]](said["refused"], remedy=said["remedy"])


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _tail(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return ":\n" * bool(lines) + "\n".join(f"  {line[:_LONGEST_LINE]}" for line in lines[-_TAIL_LINES:])
