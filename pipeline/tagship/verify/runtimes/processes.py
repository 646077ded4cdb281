"""Runs models in processes of their own: a crash there is reported, and ends nothing here.

A process answers for several models, one after the other, as starting it costs more than most
small models do; it lets go of one before the next.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tagship.system.errors import ToolError
from tagship.system.worker import Worker
from tagship.verify.conversations import Conversation
from tagship.verify.questions import Answers, Questions, read_answers, write_answers
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime

_ANSWERS_FILE = "answers.npz"
_PROMPTS_FILE = "prompts.json"


class Runtimes:
    """The runtimes that answer for models, each in a process of its own.

    A process starts when it is first asked; all end with the `with` block.
    """

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

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
        with self._worker(runtime, subject) as worker:
            answered = worker.folder / _ANSWERS_FILE
            worker.call(_failure(subject), _answer, runtime, subject, questions, answered)
            answers = read_answers(answered)
        if len(answers) != len(questions.prompts):
            raise ToolError(f"{subject.what} gave {len(answers)} answers to {len(questions.prompts)} prompts")
        return answers

    def examine(self, runtime: str, subject: Subject) -> None:
        """Raise ReleaseError for a model that the runtime of that name cannot run, ToolError when it cannot say."""
        with self._worker(runtime, subject) as worker:
            worker.call(_failure(subject), _examine, runtime, subject)

    def prompts(
        self, runtime: str, subject: Subject, conversations: tuple[Conversation, ...]
    ) -> tuple[str | None, ...]:
        """What the runtime of that name makes of conversations by the model's own chat template; None for those that it
        refuses. Raises as `answers` does."""
        with self._worker(runtime, subject) as worker:
            made = worker.folder / _PROMPTS_FILE
            worker.call(_failure(subject), _prompts, runtime, subject, conversations, made)
            return tuple(json.loads(made.read_text(encoding="utf-8")))

    @contextmanager
    def _worker(self, runtime: str, subject: Subject) -> Iterator[Worker]:
        find_runtime(runtime).check(subject)
        if runtime not in self._workers:
            self._workers[runtime] = Worker(runtime)
        try:
            yield self._workers[runtime]
        except ToolError:
            self._workers.pop(runtime).close()  # it may have ended, and the next one asked is new
            raise


def _failure(subject: Subject) -> str:
    return f"{subject.what} does not run"


def _answer(runtime: str, subject: Subject, questions: Questions, answered: Path) -> None:
    """In the worker: let a model answer."""
    write_answers(answered, find_runtime(runtime).answer(subject, questions))


def _examine(runtime: str, subject: Subject) -> None:
    """In the worker: look at a model."""
    find_runtime(runtime).examine(subject)


def _prompts(runtime: str, subject: Subject, conversations: tuple[Conversation, ...], made: Path) -> None:
    """In the worker: make prompts of conversations."""
    prompts = find_runtime(runtime).prompts(subject, conversations)
    made.write_text(json.dumps(prompts), encoding="utf-8")
