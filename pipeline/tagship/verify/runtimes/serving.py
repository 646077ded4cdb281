"""What runtimes have in common that people serve models with: each is a foreign program, and loads a model whole."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.questions import Asked, Questions
from tagship.verify.runtimes.protocol import Model, Runtime
from tagship.verify.runtimes.tokenizing import read_questions
from tagship.weights.checkpoint import open_checkpoint

# Characters that are told of an error.
_MOST_SAID = 500
# Tokens of which rows are held at once, each as wide as the vocabulary.
BLOCK = 256


class ServingRuntime(Runtime):
    """A runtime that has the weights of a model in memory."""

    def memory_for(self, weights: Path) -> int:
        return self.memory + open_checkpoint(weights).nbytes


class ServingModel(Model):
    """A model that reads questions by the tokenizer that its runtime has loaded."""

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """As transformers has it."""

    def read(self, questions: Questions) -> tuple[Asked, ...]:
        with foreign("its tokenizer cannot be used"):
            return tuple(read_questions(self.tokenizer, questions))


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Errors of a foreign program are its own: it may have no way to run a model on this machine. Raises ToolError."""
    try:
        yield
    except ReleaseError:
        raise
    except Exception as error:  # whatever it raises, of any library
        said = " ".join(str(error).split())[:_MOST_SAID]  # vLLM gives its reasons in lines of their own
        raise ToolError(f"{what}: {type(error).__name__}: {said}") from error
