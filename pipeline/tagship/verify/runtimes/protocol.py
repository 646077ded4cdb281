"""What a runtime brings: it lets a model answer.

A package adds a runtime by an entry point in the group `tagship.runtimes` that loads an instance of a subclass of
`Runtime`. `docs/formats.md` has a whole one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tagship.verify.conversations import Conversation, Prompt
from tagship.verify.questions import Answers, Questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What answers: `what` names it in messages, `model` is its file or folder, `adapter` the folder of a LoRA beside
    it, `tokenizer` the folder of a tokenizer that is not the model's own. `rendered` are the prompts as the runtime is
    to take them, where it has no chat template to render them by. `prompts` are what it has to make of conversations
    where it has one; `notes` are what people are to be told of the model. `trust_remote_code` is whether code in these
    folders may be run: only where the policy trusts that base."""

    what: str
    model: Path
    adapter: Path | None = None
    tokenizer: Path | None = None
    rendered: tuple[str, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    notes: tuple[str, ...] = ()
    trust_remote_code: bool = False


class Runtime(ABC):
    """A program or library that runs models.

    `modules` are the importable packages of the optional dependencies that it needs, and `install` says how they are
    installed. `memory` is what it needs, in bytes, beside the weights, which are mapped from their files.
    `runs_adapters` is whether it runs a base model with an adapter as PEFT does, so that its answers are those of the
    model that was trained.
    """

    name: ClassVar[str]
    memory: ClassVar[int]
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str | None] = None
    runs_adapters: ClassVar[bool] = False

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
    def answer(self, subject: Subject, questions: Questions) -> Answers:
        """Load a model, let it answer, and let go of it. It is called in a process of its own, several times, so that
        what is raised, or a crash, ends that process alone."""
