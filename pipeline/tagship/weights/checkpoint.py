"""A model's weights on disk: one safetensors file, or shards with an index."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.json_files import parse_object
from tagship.weights.safetensors import FLOATS, Header, TensorEntry, pickled, read_header

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# What file systems have, in bytes.
_LONGEST_NAME = 255


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The weights in a folder: the shards in order, and which of them has each tensor."""

    folder: Path
    shards: tuple[Header, ...]
    index: Mapping[str, Any] | None

    def owner(self, tensor: str) -> Header | None:
        """The shard that holds a tensor, or None."""
        return next((shard for shard in self.shards if tensor in shard.tensors), None)

    def entries(self) -> dict[str, TensorEntry]:
        """Every tensor by name, in the order of the files."""
        return {name: entry for shard in self.shards for name, entry in shard.tensors.items()}

    @property
    def main_dtype(self) -> str:
        """The float dtype that most of it is in, in safetensors' name; F32 where it has none."""
        sizes = {"F32": 0}
        for entry in self.entries().values():
            if entry.dtype in FLOATS:
                sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.nbytes
        return max(sizes, key=lambda dtype: sizes[dtype])

    @property
    def nbytes(self) -> int:
        """The size of all shards, in bytes."""
        return sum(shard.size for shard in self.shards)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of a model's weights.

    Raises ReleaseError when there are none, when the index names a shard that is missing or lies
    elsewhere, or when index and shards disagree.
    """
    if (folder / SINGLE_FILE).is_file():  # before the index, as transformers does
        return Checkpoint(folder=folder, shards=(read_header(folder / SINGLE_FILE),), index=None)
    if not (folder / INDEX_FILE).is_file():
        raise _no_weights(folder)
    return _sharded(folder)


def _sharded(folder: Path) -> Checkpoint:
    index = read_index(folder / INDEX_FILE)
    weight_map = index["weight_map"]
    names = shard_names(weight_map)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ReleaseError(
            f"the base model in {folder} lacks {_listed(missing)}, which {INDEX_FILE} names",
            remedy="fetch the model again, whole",
        )
    shards = tuple(read_header(folder / name) for name in names)
    held = {(tensor, shard.path.name) for shard in shards for tensor in shard.tensors}
    if differing := sorted(held ^ set(weight_map.items())):
        raise ReleaseError(
            f"{folder / INDEX_FILE} and its shards disagree, first about {differing[0][0]}",
            remedy="fetch the model again, whole",
        )
    return Checkpoint(folder=folder, shards=shards, index=index)


def shard_names(weight_map: Mapping[str, Any]) -> list[str]:
    """The files that an index names, in order. Raises ReleaseError when one of them can be no file beside it."""
    for name in weight_map.values():
        plain = isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
        if not plain or len(name.encode()) > _LONGEST_NAME:
            raise ReleaseError(f"{INDEX_FILE} names {name!r:.80}, which is no file beside it")
    return sorted(set(weight_map.values()))


def read_index(path: Path) -> dict[str, Any]:
    """An index of shards; its `weight_map` has the file of each tensor. Raises ReleaseError when it is none."""
    try:
        index = parse_object(path.read_bytes(), str(path))
        weight_map = index["weight_map"]
        if not all(isinstance(text, str) for pair in weight_map.items() for text in pair):
            raise TypeError("weight_map must map tensors to files")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseError(f"{path} is not a valid index of shards: {error!r}") from None
    return dict(index)


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _no_weights(folder: Path) -> ReleaseError:
    return pickled(folder) or ReleaseError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}")
