"""Tied embeddings: one matrix reads tokens and predicts them, and an adapter may train one side of it.

Where PEFT trained it for both sides the merged model stays tied. Else it has a tensor for each, and
its configuration says so.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from tagship.weights.changes import Change, LowRank, TokenRows
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.lora import parameter_of, same_bytes
from tagship.weights.safetensors import Header, TensorEntry

_HEADS = ("lm_head", "embed_out", "output", "output_layer")
_EMBEDDINGS = (
    "embed_tokens",
    "wte",
    "embed_in",
    "word_embeddings",
    "tok_embeddings",
    "tokens_embed",
    "embeddings",
)
_IN_A_LAYER = re.compile(r"(?:^|\.)\d+\.")


class Trained(Struct, frozen=True, kw_only=True):
    """What an adapter brings, by the names of the base's files: whole tensors, and changes after them."""

    replaced: dict[str, TensorEntry]
    changes: dict[str, tuple[Change, ...]]

    def touches(self, name: str) -> bool:
        return name in self.replaced or name in self.changes

    def copy(self, source: str, target: str) -> None:
        """Make the same of another tensor."""
        for held in (self.replaced, self.changes):
            _copy(held, source, target)

    def drop(self, name: str) -> None:
        self.replaced.pop(name, None)
        self.changes.pop(name, None)


def _copy(held: dict[str, Any], source: str, target: str) -> None:
    held.pop(target, None)
    if source in held:
        held[target] = held[source]


def is_vocabulary(name: str) -> bool:
    """Whether the rows of a parameter are tokens: an embedding, or a head."""
    return _leaf(name) in (*_HEADS, *_EMBEDDINGS) and not _IN_A_LAYER.search(name)


def is_head(name: str) -> bool:
    """Whether a parameter is the weight that predicts tokens."""
    return name.endswith(".weight") and _leaf(name) in _HEADS and not _IN_A_LAYER.search(name)


def embedding_of(names: Iterable[str]) -> str | None:
    """The name of the weight that reads tokens, if there is one."""
    return next(iter(embeddings_of(names)), None)


def embeddings_of(names: Iterable[str]) -> list[str]:
    """The names of all weights that read tokens: some models have several."""
    return [name for name in names if name.endswith(".weight") and _leaf(name) in _EMBEDDINGS]


def vocabulary_of(weights: Header) -> int | None:
    """The rows that embedding and head have in the model that was trained, where an adapter holds one of them whole."""
    whole = {name: entry for name, entry in weights.tensors.items() if "lora_" not in name and len(entry.shape) == 2}
    sizes = {entry.shape[0] for name, entry in whole.items() if is_vocabulary(parameter_of(name))}
    return sizes.pop() if len(sizes) == 1 else None


def settle(
    weights: Header, base: Checkpoint, config: Mapping[str, Any], keeps_tied: bool, trained: Trained
) -> tuple[str, str] | None:
    """Head and embedding, where the base ties them and the merged model cannot.

    `weights` are the adapter's, `config` is the base's, `keeps_tied` what the adapter says of its own
    training. `trained` is completed: with what one side says for both, and without what both say.
    """
    entries = base.entries()
    embedding = embedding_of(entries) or _embedding_by_change(trained)
    head = next(filter(is_head, (*entries, *trained.replaced, *trained.changes)), "lm_head.weight")
    if embedding not in entries or not (trained.touches(head) or trained.touches(embedding)):
        return None
    if not _tied(base, config, head, embedding):
        return None
    _share_resized(trained, entries[embedding], head, embedding)
    if _for_both(weights, keeps_tied, trained, head, embedding):
        if head in entries:
            trained.copy(embedding, head)
        else:
            trained.drop(head)
        return None
    _share_tokens(trained, head, embedding)
    return head, embedding


def _embedding_by_change(trained: Trained) -> str | None:
    """An embedding under a name that is not known, told by what is done to it."""
    return next(
        (
            name
            for name, made in trained.changes.items()
            if any(isinstance(change, LowRank) and change.embedding for change in made)
        ),
        None,
    )


def _tied(base: Checkpoint, config: Mapping[str, Any], head: str, embedding: str) -> bool:
    """A head without a tensor of its own is tied, and so is one with the embedding's bytes
    (transformers, PreTrainedModel.tie_weights), unless the configuration denies it."""
    if says_tied(config) is False:
        return False
    one, other = base.owner(head), base.owner(embedding)
    if one is None or other is None:
        return True
    return same_bytes(one.path, one.tensors[head], other.path, other.tensors[embedding])


def says_tied(config: Mapping[str, Any]) -> bool | None:
    """Whether a configuration says that head and embedding are one; None where it does not say."""
    inner = config.get("text_config")
    said = config.get("tie_word_embeddings", inner.get("tie_word_embeddings") if isinstance(inner, dict) else None)
    return said if isinstance(said, bool) else None


def _share_resized(trained: Trained, before: TensorEntry, head: str, embedding: str) -> None:
    """What lies frozen below one side's changes, with more or fewer tokens than the base, is the other's too."""
    for one, other in ((embedding, head), (head, embedding)):
        frozen = trained.replaced.get(one) if one in trained.changes else None
        if frozen and other not in trained.replaced and frozen.shape != before.shape:
            trained.replaced[other] = frozen


def _for_both(weights: Header, keeps_tied: bool, trained: Trained, head: str, embedding: str) -> bool:
    made = trained.changes.get(embedding, ())
    if not trained.touches(head) or (head not in trained.changes and _resized_alike(trained, head, embedding)):
        return keeps_tied or (bool(made) and all(isinstance(change, TokenRows) for change in made))
    return _same_whole(weights, trained, head, embedding) and _same_tokens(weights, trained.changes.get(head, ()), made)


def _resized_alike(trained: Trained, head: str, embedding: str) -> bool:
    return trained.replaced.get(head) is not None and trained.replaced.get(head) is trained.replaced.get(embedding)


def _same_whole(weights: Header, trained: Trained, head: str, embedding: str) -> bool:
    one, other = trained.replaced.get(head), trained.replaced.get(embedding)
    if one is None or other is None:
        return one is other
    return same_bytes(weights.path, one, weights.path, other)


def _same_tokens(weights: Header, made: tuple[Change, ...], others: tuple[Change, ...]) -> bool:
    return len(made) == len(others) and all(
        isinstance(one, TokenRows)
        and isinstance(other, TokenRows)
        and one.indices == other.indices
        and same_bytes(weights.path, one.rows, weights.path, other.rows)
        for one, other in zip(made, others, strict=True)
    )


def _share_tokens(trained: Trained, head: str, embedding: str) -> None:
    """A head with a LoRA of its own has the embedding's trained tokens below it (PEFT,
    set_additional_trainable_modules), unless it has trained ones itself."""
    tokens = tuple(change for change in trained.changes.get(embedding, ()) if isinstance(change, TokenRows))
    made = trained.changes.get(head, ())
    if any(isinstance(change, LowRank) for change in made) and not any(
        isinstance(change, TokenRows) for change in made
    ):
        trained.changes[head] = (*tokens, *made)


def _leaf(name: str) -> str:
    return name.rpartition(".")[0].rpartition(".")[2]
