"""Whether an adapter was made for a base: told tensor by tensor, from headers alone."""

from collections.abc import Mapping, Sequence

from tagship.system.errors import ReleaseError
from tagship.weights.changes import Added, Change, TokenRows
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.lora import Adapter
from tagship.weights.safetensors import FLOATS, TensorEntry
from tagship.weights.tied_embeddings import Trained, embedding_of, is_head, is_vocabulary

_QUANTIZED = "a quantized base cannot take a merge"


def check_fit(adapter: Adapter, base: Checkpoint, trained: Trained, entries: Mapping[str, TensorEntry]) -> None:
    """Raise ReleaseError, tensor by tensor, when the adapter was not made for this base.

    `entries` are the base's tensors, with a head that was tied until now.
    """
    problems = [problem for name, made in trained.changes.items() if (problem := _misfit(name, made, entries, trained))]
    problems += [problem for name in trained.replaced if (problem := _misplaced(name, entries, trained))]
    if problems := problems or _unequal_vocabularies(entries, trained):
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ReleaseError(
            f"the adapter {adapter.folder.name} does not fit the base model in {base.folder}:\n{listed}",
            remedy="name the model that the base was quantized from: --base NAME, or for all runs of it "
            '[bases."NAME"] quantized = ["…"] in release.toml'
            if any(_QUANTIZED in problem for problem in problems)
            else "name the base that it was trained on with --base",
        )


def _misfit(name: str, made: Sequence[Change], entries: Mapping[str, TensorEntry], trained: Trained) -> str | None:
    found = trained.replaced.get(name) or entries.get(name)
    if found is None:
        return _missing(name, made, entries)
    if found.dtype not in FLOATS:
        return f"{name} is {found.dtype}: {_QUANTIZED}"
    for change in made:
        fits = len(change.shape) == len(found.shape) and all(
            needed in (None, size) for needed, size in zip(change.shape, found.shape, strict=True)
        )
        if not fits:
            return f"{name} is {list(found.shape)}, the adapter needs {_shown(change.shape)}"
        if isinstance(change, TokenRows) and max(change.indices, default=0) >= found.shape[0]:
            return f"{name} has {found.shape[0]} rows, the adapter trained token {max(change.indices)}"
    return None


def _missing(name: str, made: Sequence[Change], entries: Mapping[str, TensorEntry]) -> str:
    module = name.rpartition(".")[0] + "."
    if any(isinstance(change, Added) for change in made) and f"{module}weight" in entries:
        return f"{name} is not in the base, and the adapter's lora_bias needs one: it cannot be merged"
    if any(held.startswith(module) and entry.dtype not in FLOATS for held, entry in entries.items()):
        return f"{name} is not in the base, which is quantized: {_QUANTIZED}"
    return f"{name} is not in the base"


def _misplaced(name: str, entries: Mapping[str, TensorEntry], trained: Trained) -> str | None:
    before, entry = entries.get(name), trained.replaced[name]
    if before is None:
        # A new head stands beside the modules of the base; a name inside of them is one that was not found.
        inside = name.partition(".")[0] in {held.partition(".")[0] for held in entries}
        return f"{name} is not in the base" if inside and not is_head(name) else None
    if before.dtype not in FLOATS:
        return f"{name} is {before.dtype}: {_QUANTIZED}"
    resized = is_vocabulary(name) and before.shape[1:] == entry.shape[1:]
    if before.shape != entry.shape and not resized:
        return f"{name} is {list(before.shape)}, the adapter has {list(entry.shape)} in its place"
    return None


def _unequal_vocabularies(entries: Mapping[str, TensorEntry], trained: Trained) -> list[str]:
    """What was resized on one side only: a model has as many rows to read tokens as to predict them."""
    sides = [side for side in (embedding_of(entries), next(filter(is_head, entries), None)) if side]
    before, after = ([held[name].shape[0] for name in sides] for held in (entries, dict(entries) | trained.replaced))
    if len(set(before)) > 1 or len(set(after)) <= 1:
        return []
    return [" and ".join(f"{name} would have {rows} rows" for name, rows in zip(sides, after, strict=True))]


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
