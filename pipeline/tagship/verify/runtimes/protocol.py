"""What a runtime brings: it tells what a model finds likely to come next.

A package adds a runtime by an entry point in the group `tagship.runtimes` that loads an instance of a subclass of
`Runtime`. `docs/formats.md` has a whole one.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from tagship.verify.conversations import Conversation, Prompt
from tagship.verify.questions import Asked, Questions, Tokens
from tagship.weights.nf4_form import Nf4

if TYPE_CHECKING:  # every task reads this
    import numpy as np

    from tagship.verify.measured_text import Passage


class Ingredients(Struct, frozen=True, kw_only=True):
    """What merged weights are made of: the folders of `base` and `adapter`, and how (`weights/merge.py`)."""

    base: Path
    adapter: Path
    dtype: str | None = None
    nf4: Nf4 | None = None
    portable: bool = False


class Subject(Struct, frozen=True, kw_only=True):
    """What answers: `what` names it in messages, `model` is its file or folder, `adapter` the LoRA beside it: the
    folder that PEFT saved, or a GGUF. `tokenizer` is the folder
    of a tokenizer that is not the model's own. `rendered` are the prompts as the runtime is to take them, where it has
    no chat template to render them by. `prompts` are what it has to make of conversations where it has one; `notes` are
    what people are to be told of the model. `trust_remote_code` is whether code in these folders may be run: only where
    the policy trusts that base. With `nf4` the model, without its adapter, is as it is when it was held so. With
    `made_of` the files of its weights have their headers alone, and the weights are made again of that as they are
    needed. `how` is what evidence says of how the runtime runs it, beyond its name."""

    what: str
    model: Path
    adapter: Path | None = None
    tokenizer: Path | None = None
    rendered: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    notes: tuple[str, ...] = ()
    trust_remote_code: bool = False
    nf4: Nf4 | None = None
    made_of: Ingredients | None = None
    how: str | None = None


class Model(ABC):
    """A model that a runtime has loaded, in a process of its own.

    `tells_all` is whether it says of each token how likely it is. What does not gives, in place of logits, the
    log-probabilities of the likeliest ones, and -inf for the others. `how` is what evidence says of how it is run on
    this machine, beyond the runtime's name.
    """

    tells_all: bool = True
    how: str | None = None

    @abstractmethod
    def read(self, questions: Questions) -> tuple[Asked, ...]:
        """Each question as this model reads it: the prompt that its chat template makes of it, and that in tokens."""

    @abstractmethod
    def rows(self, sequences: Sequence[Tokens]) -> "Iterator[np.ndarray[Any, np.dtype[np.float32]]]":
        """For each token that is looked at, in order, the logits of all that might stand in its place, in blocks of any
        size: arrays of float32, shape (tokens, vocabulary)."""

    @abstractmethod
    def ends(self, tokens: Collection[int]) -> Collection[int]:
        """Those of the tokens that end an answer, by the files that users get."""

    def expect(self, sequences: Sequence[Tokens]) -> None:
        """Be told that `rows` of these will be asked for: they may be computed along with what is computed before, by
        this model or another one in its process, where that spares reading weights once more."""
        return None

    def greedy(self, sequences: Sequence[Tokens]) -> Sequence[Sequence[int]]:
        """For each token that is looked at, the likeliest one in its place, and the one after the last. Sequences that
        begin like those of an earlier call may be computed from there."""
        longer = [Tokens(ids=(*sequence.ids, 0), since=sequence.since) for sequence in sequences]
        likeliest = [int(token) for block in self.rows(longer) for token in block.argmax(axis=1)]
        places = iter(likeliest)
        return [list(islice(places, len(sequence.looked_at))) for sequence in longer]

    def spell(self, passages: "Sequence[Passage]") -> Sequence[Sequence[int]]:
        """Passages of a text in tokens, conversations as the model's chat template has them."""
        raise NotImplementedError(f"{type(self).__name__} spells no text")

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, without those that only mark something."""
        raise NotImplementedError(f"{type(self).__name__} tells no text")

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> Sequence[Sequence[int]]:
        """The greedy answer to each prompt, in tokens with the one that ends it, at most so many."""
        raise NotImplementedError(f"{type(self).__name__} does not generate")

    def close(self) -> None:
        """Let go of the model."""
        return None


class Runtime(ABC):
    """A program or library that runs models.

    `modules` are the importable packages of the optional dependencies that it needs, and `install` says how they are
    installed. `memory` is what it needs, in bytes, beside the weights, which are mapped from their files; where it
    takes more for some models, `memory_for` says so. `tells_all` is that of its models. `runs_adapters` is
    whether it runs a base model with an adapter as PEFT does, so that its answers are those of the model that was
    trained; `generates` is whether its models write answers by themselves, faster than one that is read as a whole for
    each token.
    """

    name: ClassVar[str]
    memory: ClassVar[int]
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str | None] = None
    tells_all: ClassVar[bool] = True
    runs_adapters: ClassVar[bool] = False
    generates: ClassVar[bool] = False

    @property
    def version(self) -> str:
        """Of what a release depends on it: the packages with their versions."""
        return ", ".join(f"{name} {_version(name)}" for name in self.modules)

    def memory_for(self, weights: Path) -> int:
        """What it needs for a model with the weights in a folder, in bytes, beside the page cache: by headers alone."""
        return self.memory

    def check(self, subject: Subject) -> None:
        """Raise ReleaseError for what cannot be run, before a process is started for it."""
        return None

    def examine(self, subject: Subject) -> None:
        """Raise ReleaseError for what cannot be run, without loading its weights. It is called in a process of its own,
        before anything is exported."""
        return None

    def prompts(self, subject: Subject, conversations: tuple[Conversation, ...]) -> tuple[str | None, ...]:
        """What the runtime makes of conversations by the model's own chat template, None for one that it refuses. It is
        called in a process of its own, for subjects whose format says what they have to become."""
        raise NotImplementedError(f"{self.name} makes no prompts of conversations")

    @abstractmethod
    def load(self, subject: Subject) -> Model:
        """Load a model. It is called in a process of its own, so that what is raised there, or a crash, ends that
        process alone."""


def _version(module: str) -> str:
    try:
        return version(module)
    except PackageNotFoundError:
        return "of no package"
