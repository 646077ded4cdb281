"""Runs models in processes of their own: a crash there is reported, and ends nothing here.

A process answers for several models, one after the other, as starting it costs more than most
small models do; it lets go of one before the next.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.conversations import Conversation
from tagship.verify.questions import Answers, Questions, read_answers
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime

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
    """The runtimes that answer for models, each in a process of its own.

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

    def answers(self, runtime: str, subject: Subject, questions: Questions) -> Answers:
        """What a model answers when the runtime of that name runs it.

        Raises ToolError, with the end of what was printed, when it does not run, ReleaseError for what need not be
        tried.
        """
        _, answered = self._ask(runtime, subject, questions)
        answers = read_answers(answered)
        if len(answers) != len(questions.prompts):
            raise ToolError(f"{subject.what} gave {len(answers)} answers to {len(questions.prompts)} prompts")
        return answers

    def examine(self, runtime: str, subject: Subject) -> None:
        """Raise ReleaseError for a model that the runtime of that name cannot run, ToolError when it cannot say."""
        self._ask(runtime, subject, None)

    def prompts(
        self, runtime: str, subject: Subject, conversations: tuple[Conversation, ...]
    ) -> tuple[str | None, ...]:
        """What the runtime of that name makes of conversations by the model's own chat template; None for those that it
        refuses. Raises as `answers` does."""
        said, _ = self._ask(runtime, subject, conversations)
        return tuple(said["prompts"])

    def _ask(self, runtime: str, subject: Subject, question: "_Question") -> tuple[dict[str, Any], Path]:
        find_runtime(runtime).check(subject)
        worker = self._workers.get(runtime) or self._workers.setdefault(runtime, _Worker(runtime))
        try:
            return worker.ask(subject, question)
        except ToolError:
            del self._workers[runtime]  # it ended, and the next one asked is new
            raise


_Question = Questions | tuple[Conversation, ...] | None


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self, runtime: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tagship-verify-")
        self._log = Path(self._folder.name, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # Not from where the user stands, whose own modules may have any name.
                [sys.executable, "-P", "-m", "tagship.verify.runtimes.worker", runtime],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | _ENVIRONMENT,
            )

    def ask(self, subject: Subject, question: _Question) -> tuple[dict[str, Any], Path]:
        """What the worker says, and where it writes answers."""
        asked, answered = Path(self._folder.name, "asked.pickle"), Path(self._folder.name, "answers.npz")
        asked.write_bytes(pickle.dumps((subject, question)))
        with suppress(BrokenPipeError):  # it ended already: the missing answer below says so
            print(json.dumps([str(asked), str(answered)]), file=_pipe(self._process.stdin), flush=True)
        if not (said := _pipe(self._process.stdout).readline()):
            code = self._process.wait()
            printed = self._log.read_text(errors="replace")
            self.close()
            raise ToolError(f"{subject.what} does not run ({_ending(code)}):\n{_tail(printed)}")
        document: dict[str, Any] = json.loads(said)
        if "refused" in document:
            raise ReleaseError(document["refused"], remedy=document["remedy"])
        return document, answered

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # a request that it did not live to read
                _pipe(stream).close()
        self._process.wait()
        self._folder.cleanup()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _tail(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
