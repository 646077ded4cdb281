"""Runs models in processes of their own: a crash there is reported, and ends nothing here.

A process answers for several models, one after the other, as starting it costs more than most
small models do; it lets go of one before the next.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tagship.system.errors import ToolError
from tagship.system.machine import available_memory
from tagship.verify.questions import Answers, Questions, read_answers
from tagship.weights.checkpoint import open_checkpoint

# Enough for a Python traceback and the lines of llama.cpp before it, which say why.
_TAIL_LINES = 25
# All that a worker loads is on this disk; what it prints is only read when it fails.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait slow each other down on a busy machine
}


class Runtimes:
    """The runtimes that answer for models: transformers with PEFT, and llama.cpp.

    A process starts when it is first asked; all end with the `with` block.
    """

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}

    def __enter__(self) -> "Runtimes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def transformers(
        self,
        questions: Questions,
        what: str,
        *,
        model: Path,
        adapter: Path | None = None,
        tokenizer: Path | None = None,
    ) -> Answers:
        """Answers by transformers on the CPU; with an adapter, by PEFT on `model` as its base.

        Weights are run in float32 where that fits in memory, else in the checkpoint's own dtype.
        Raises ToolError, with the end of what was printed, when the model does not run.
        """
        request = {"model": model, "adapter": adapter, "tokenizer": tokenizer or model, "dtype": _dtype(model)}
        return self._ask("transformers", questions, what, request)

    def llama(self, questions: Questions, what: str, *, model: Path, rendered: tuple[str, ...]) -> Answers:
        """Answers by llama.cpp for a GGUF; `rendered` are the prompts as its template makes them.

        Raises ToolError, with the end of what was printed, when the GGUF does not run.
        """
        return self._ask("llama_cpp", questions, what, {"model": model, "rendered": rendered})

    def _ask(self, name: str, questions: Questions, what: str, request: dict[str, Any]) -> Answers:
        worker = self._workers.get(name) or self._workers.setdefault(name, _Worker(name))
        try:
            return worker.ask(questions, what, request)
        except ToolError:
            del self._workers[name]  # it ended, and the next one asked is new
            raise


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tagship-verify-")
        self._log = Path(self._folder.name, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"tagship.verify.runtimes.{name}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | _ENVIRONMENT,
            )

    def ask(self, questions: Questions, what: str, request: dict[str, Any]) -> Answers:
        asked, answered = Path(self._folder.name, "questions.json"), Path(self._folder.name, "answers.npz")
        questions.write(asked, request)
        with suppress(BrokenPipeError):  # it ended already: the missing answer below says so
            print(json.dumps([str(asked), str(answered)]), file=_pipe(self._process.stdin), flush=True)
        if not _pipe(self._process.stdout).readline():
            code = self._process.wait()
            printed = self._log.read_text(errors="replace")
            self.close()
            raise ToolError(f"{what} does not run ({_ending(code)}):\n{_tail(printed)}")
        return read_answers(answered)

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # a request that it did not live to read
                _pipe(stream).close()
        self._process.wait()
        self._folder.cleanup()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _dtype(model: Path) -> str:
    # A checkpoint in its own dtype is mapped from its files and takes next to no memory; float32
    # is a copy of twice the bytes of a 16-bit one, and needs some room to load and to work.
    return "float32" if open_checkpoint(model).nbytes * 2.5 < available_memory() else "auto"


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _tail(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
