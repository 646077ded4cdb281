"""What is there, as far as a name may speak of it: facts, each with the file that says it."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from msgspec import Struct, field

from tagship.lint.quants import Quantized
from tagship.lint.sizes import Parameters

T = TypeVar("T")

# What a folder or repo holds.
ADAPTER, MERGED, GGUF = "an adapter", "whole weights", "a GGUF"


class Fact(Struct, Generic[T], frozen=True):
    """Something that is so, and the file that says it."""

    value: T
    where: str


class Held(Struct, frozen=True, kw_only=True):
    """What was found; None is what nobody says.

    `base_ids` are the ids of the base model that the model comes from. `architecture` is config.json's `model_type`, or
    a GGUF's, and `text_architecture` that of the part that reads text, in a model that sees or hears; `classes` are its
    `architectures`, `task` what PEFT calls an adapter's. `ranks` and `alphas` are all that are in an adapter, of which
    `rank` and `alpha` are those of its modules unless a pattern says otherwise. `stopped` is the epoch that a training
    ended at. `version` is what a manifest or a tag says (a value of None: that there is none); `repo_tags` are the
    versions of a repo's tags. `ggufs` are by their file names, the first part of a divided one.
    """

    where: str
    holds: frozenset[str] = frozenset()
    base_ids: tuple[str, ...] = ()
    architecture: Fact[str] | None = None
    text_architecture: str | None = None
    classes: tuple[str, ...] = ()
    task: Fact[str] | None = None
    parameters: Fact[Parameters] | None = None
    rank: Fact[int] | None = None
    ranks: tuple[int, ...] = ()
    alpha: Fact[float] | None = None
    alphas: tuple[float, ...] = ()
    epochs: Fact[float] | None = None
    stopped: Fact[float] | None = None
    dataset: Fact[str] | None = None
    quant: Fact[str] | None = None
    version: Fact[str | None] | None = None
    repo_tags: Fact[tuple[str, ...]] | None = None
    chat_template: bool | None = None
    ggufs: Mapping[str, Quantized] = field(default_factory=dict)
    gguf_versions: Mapping[str, str] = field(default_factory=dict)
