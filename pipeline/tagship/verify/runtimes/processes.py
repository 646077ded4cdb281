"""Runs models in processes of their own: a crash there is reported, and ends nothing here.

A process serves several models, as starting it costs more than most small ones take. What they tell of a token is as
wide as the vocabulary, so it comes block by block through a file, and is never held as a whole.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tagship.system.errors import Killed, ToolError
from tagship.system.templating import human_size
from tagship.system.worker import Worker, read_reply, write_reply
from tagship.verify.conversations import Conversation
from tagship.verify.questions import Asked, Questions, Tokens
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.registry import find_runtime

if TYPE_CHECKING:
    import numpy as np

    from tagship.verify.measured_text import Passage

    Rows = np.ndarray[Any, np.dtype[np.float32]]

_REPLY_FILE = "reply.json"


class Runtimes:
    """The runtimes that run models, each in a process of its own.

    A process starts when it is first asked; all end with the `with` block, and so do the models in them.
    """

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._open: dict[str, RunningModel] = {}
        self._numbers = count()

    def __enter__(self) -> "Runtimes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        self._open.clear()

    @contextmanager
    def model(self, runtime: str, subject: Subject) -> "Iterator[RunningModel]":
        """A model, loaded until the block ends. Raises ToolError, with the end of what was printed, when it does not
        run, ReleaseError for what need not be tried."""
        running = self._load(runtime, subject)
        try:
            yield running
        finally:
            if self._workers.get(runtime) is running.worker:  # it has not ended
                running.close()

    def kept(self, runtime: str, subject: Subject) -> "RunningModel":
        """As `model`, until all ends, or the model of another name is wanted; one that is there already is used."""
        found = self._open.get(subject.what)
        if found is None or self._workers.get(runtime) is not found.worker:
            found = self._open[subject.what] = self._load(runtime, subject)
        return found

    def start(self, runtime: str) -> None:
        """Have the process of a runtime load its libraries, which takes seconds, while something else is done."""
        if runtime not in self._workers:
            self._workers[runtime] = Worker(runtime, find_runtime(runtime).modules)

    def end(self, runtime: str) -> None:
        """End the process of a runtime, and free what it holds; the next one that is asked is new."""
        if (worker := self._workers.pop(runtime, None)) is not None:
            worker.close()

    def has(self, model: Model) -> bool:
        """Whether the process of a model has not ended."""
        return isinstance(model, RunningModel) and model.worker in self._workers.values()

    @contextmanager
    def lent(self, runtime: str) -> Iterator[Worker | None]:
        """The process of a runtime, for other work with its libraries; None where it was not started."""
        try:
            yield self._workers.get(runtime)
        except ToolError:
            self.end(runtime)
            raise

    def examine(self, runtime: str, subject: Subject) -> None:
        """Raise ReleaseError for a model that the runtime of that name cannot run, ToolError when it cannot say."""
        with self._worker(runtime, subject) as worker:
            worker.call(_failure(subject), _examine, runtime, subject)

    def prompts(
        self, runtime: str, subject: Subject, conversations: tuple[Conversation, ...]
    ) -> tuple[str | None, ...]:
        """What the runtime of that name makes of conversations by the model's own chat template; None for those that it
        refuses. Raises as `model` does."""
        with self._worker(runtime, subject) as worker:
            reply = worker.folder / _REPLY_FILE
            worker.call(_failure(subject), _prompts, runtime, subject, conversations, reply)
            return tuple(read_reply(reply))

    def _load(self, runtime: str, subject: Subject) -> "RunningModel":
        number = next(self._numbers)
        with self._worker(runtime, subject) as worker:
            reply = worker.folder / _REPLY_FILE
            worker.call(_failure(subject), _load, runtime, subject, number, reply)
            return RunningModel(self, runtime, subject, worker, number, read_reply(reply))

    @contextmanager
    def _worker(self, runtime: str, subject: Subject) -> Iterator[Worker]:
        find_runtime(runtime).check(subject)
        self.start(runtime)
        with self._dropped_when_it_ends(runtime):
            yield self._workers[runtime]

    @contextmanager
    def _dropped_when_it_ends(self, runtime: str) -> Iterator[None]:
        try:
            yield
        except ToolError as error:
            self.end(runtime)
            if isinstance(error, Killed):
                told = f"{human_size(find_runtime(runtime).memory)} beside the weights"
                why = f"{error}; it was probably memory, of which it was to need {told}"
                raise Killed(why, remedy=error.remedy) from error
            raise


class RunningModel(Model):
    """A model in a worker, asked from here."""

    def __init__(
        self, runtimes: Runtimes, runtime: str, subject: Subject, worker: Worker, number: int, how: str | None
    ) -> None:
        self._runtimes, self._runtime = runtimes, runtime
        self.subject, self.worker, self._number, self.how = subject, worker, number, how
        self.tells_all = find_runtime(runtime).tells_all

    def read(self, questions: Questions) -> tuple[Asked, ...]:
        """As `Model.read`."""
        asked = self._ask(_read, questions)
        if len(asked) != len(questions.prompts):
            raise ToolError(f"{self.subject.what} read {len(asked)} of {len(questions.prompts)} prompts")
        return tuple(Asked(prompt=prompt, ids=tuple(ids)) for prompt, ids in asked)

    def rows(self, sequences: Sequence[Tokens]) -> "Iterator[Rows]":
        """As `Model.rows`; a block is whole until the next one is asked for. Raises ToolError where there are not as
        many rows as were asked for."""
        import numpy as np

        wanted = sum(len(sequence.looked_at) for sequence in sequences)
        path = self.worker.folder / f"rows-{self._number}.f32"
        self._ask(_begin, tuple(sequences))
        while True:
            shape = self._ask(_next_rows, path)
            if shape is None:
                break
            wanted -= shape[0]
            if shape[0]:
                yield np.memmap(path, np.float32, "r", shape=tuple(shape))
        if wanted:
            raise ToolError(
                f"{self.subject.what} gave {abs(wanted)} distributions too {'few' if wanted > 0 else 'many'}"
            )

    def expect(self, sequences: Sequence[Tokens]) -> None:
        """As `Model.expect`."""
        self._ask(_expect, tuple(sequences))

    def greedy(self, sequences: Sequence[Tokens]) -> list[list[int]]:
        """As `Model.greedy`."""
        return list(self._ask(_greedy, tuple(sequences)))

    def ends(self, tokens: Collection[int]) -> set[int]:
        """As `Model.ends`."""
        return set(self._ask(_ends, sorted(set(tokens))))

    def spell(self, passages: "Sequence[Passage]") -> list[list[int]]:
        """As `Model.spell`."""
        return list(self._ask(_spell, tuple(passages)))

    def text(self, ids: Sequence[int]) -> str:
        """As `Model.text`."""
        return str(self._ask(_text, tuple(ids)))

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """As `Model.generate`."""
        return list(self._ask(_generate, tuple(map(tuple, prompts)), most))

    def close(self) -> None:
        """Let go of the model."""
        self._ask(_close)

    def _ask(self, function: Any, *arguments: Any) -> Any:
        reply = self.worker.folder / _REPLY_FILE
        with self._runtimes._dropped_when_it_ends(self._runtime):
            self.worker.call(_failure(self.subject), function, self._number, *arguments, reply)
        return read_reply(reply)


def _failure(subject: Subject) -> str:
    return f"{subject.what} does not run"


# In the worker.

_MODELS: dict[int, Model] = {}
_ROWS: "dict[int, Iterator[Rows]]" = {}


def _examine(runtime: str, subject: Subject) -> None:
    find_runtime(runtime).examine(subject)


def _prompts(runtime: str, subject: Subject, conversations: tuple[Conversation, ...], reply: Path) -> None:
    write_reply(reply, find_runtime(runtime).prompts(subject, conversations))


def _load(runtime: str, subject: Subject, number: int, reply: Path) -> None:
    _MODELS[number] = find_runtime(runtime).load(subject)
    write_reply(reply, _MODELS[number].how)


def _read(number: int, questions: Questions, reply: Path) -> None:
    write_reply(reply, [(asked.prompt, asked.ids) for asked in _MODELS[number].read(questions)])


def _begin(number: int, sequences: tuple[Tokens, ...], reply: Path) -> None:
    _ROWS[number] = _MODELS[number].rows(sequences)
    write_reply(reply, None)


def _next_rows(number: int, path: Path, reply: Path) -> None:
    import numpy as np

    block = next(_ROWS[number], None)
    if block is not None:
        path.write_bytes(np.ascontiguousarray(block, np.float32).data)
    write_reply(reply, None if block is None else block.shape)


def _expect(number: int, sequences: tuple[Tokens, ...], reply: Path) -> None:
    _MODELS[number].expect(sequences)
    write_reply(reply, None)


def _greedy(number: int, sequences: tuple[Tokens, ...], reply: Path) -> None:
    write_reply(reply, [list(map(int, ids)) for ids in _MODELS[number].greedy(sequences)])


def _ends(number: int, tokens: list[int], reply: Path) -> None:
    write_reply(reply, sorted(_MODELS[number].ends(tokens)))


def _spell(number: int, passages: "tuple[Passage, ...]", reply: Path) -> None:
    write_reply(reply, [list(map(int, ids)) for ids in _MODELS[number].spell(passages)])


def _text(number: int, ids: tuple[int, ...], reply: Path) -> None:
    write_reply(reply, _MODELS[number].text(ids))


def _generate(number: int, prompts: tuple[tuple[int, ...], ...], most: int, reply: Path) -> None:
    write_reply(reply, [list(map(int, ids)) for ids in _MODELS[number].generate(prompts, most)])


def _close(number: int, reply: Path) -> None:
    _ROWS.pop(number, None)
    _MODELS.pop(number).close()
    write_reply(reply, None)
