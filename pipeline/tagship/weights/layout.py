"""Which file of a merged model holds which tensor, and where: declared before the first byte is written."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from tagship.weights.checkpoint import SINGLE_FILE
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.safetensors import SIZES, Header


class Shard(Struct, frozen=True, kw_only=True):
    """A file to be written: the bytes of its header, and each tensor of the merged model with the offset in the file of
    each of its parts."""

    name: str
    header: bytes
    tensors: tuple[tuple[Output, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """The length of the file, in bytes."""
        ends = (
            at + part.nbytes for output, places in self.tensors for part, at in zip(output.parts, places, strict=True)
        )
        return max(ends, default=len(self.header))


class Layout(Struct, frozen=True, kw_only=True):
    """All files of a merged model; `index` is what model.safetensors.index.json says, if there is one."""

    shards: tuple[Shard, ...]
    index: Mapping[str, Any] | None


def lay_out(weights: MergedWeights, max_shard: int | None = None) -> Layout:
    """The base's own files, where nothing in them moves; else new headers, and files of at most
    `max_shard` bytes where that is given (a tensor is never divided)."""
    groups: list[list[Output]] = [[] for _ in weights.base.shards]
    for output in weights.outputs.values():
        groups[output.shard].append(output)
    if max_shard is None:
        names = [shard.path.name for shard in weights.base.shards]
    else:
        groups = _split(list(weights.outputs.values()), max_shard)
        names = _names(len(groups))
    olds: Sequence[Header | None] = weights.base.shards if max_shard is None else [None] * len(groups)
    shards = tuple(_shard(weights.library, *parts) for parts in zip(names, groups, olds, strict=True))
    return Layout(shards=shards, index=_index(weights, shards))


def _shard(library: str, name: str, outputs: Sequence[Output], old: Header | None) -> Shard:
    if old is not None and _unmoved(outputs, old):
        return Shard(
            name=name,
            header=_head(old),
            tensors=tuple((output, (old.tensors[output.name].start,)) for output in outputs),
        )
    # Wide dtypes first, as the format's own library has them: each tensor begins at a multiple of its element's size.
    parts = sorted((part for output in outputs for part in output.parts), key=lambda part: -SIZES[part.dtype])
    described: dict[str, Any] = {"__metadata__": {"format": library}}
    at = 0
    for part in parts:
        if part.name in described:  # another one of a stack
            continue
        shape = list(part.shape) if part.stacked is None else [part.stacked, *part.shape]
        size = part.nbytes * (part.stacked or 1)
        described[part.name] = {"dtype": part.dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight, as the format's own library does
    header = len(text).to_bytes(8, "little") + text
    starts = {part.name: len(header) + described[part.name]["data_offsets"][0] for part in parts}
    tensors = tuple(
        (output, tuple(starts[part.name] + part.index * part.nbytes for part in output.parts)) for output in outputs
    )
    return Shard(name=name, header=header, tensors=tensors)


def _unmoved(outputs: Sequence[Output], old: Header) -> bool:
    return [(part.name, part.dtype, part.shape) for output in outputs for part in output.parts] == [
        (entry.name, entry.dtype, entry.shape) for entry in old.tensors.values()
    ]


def _head(old: Header) -> bytes:
    with old.path.open("rb") as file:
        return file.read(old.data_start)


def _split(outputs: Sequence[Output], most: int) -> list[list[Output]]:
    groups: list[list[Output]] = [[]]
    size = 0
    for _, same in groupby(outputs, key=lambda output: output.written_as):
        tensor = list(same)  # or all that are stacked in one
        nbytes = sum(output.nbytes for output in tensor)
        if groups[-1] and size + nbytes > most:
            groups.append([])
            size = 0
        groups[-1] += tensor
        size += nbytes
    return groups


def _names(count: int) -> list[str]:
    if count == 1:
        return [SINGLE_FILE]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _index(weights: MergedWeights, shards: Sequence[Shard]) -> Mapping[str, Any] | None:
    """The index of the shards, as transformers writes it; None for a single file."""
    old = weights.base.index
    placed = {part.name: shard.name for shard in shards for output, _ in shard.tensors for part in output.parts}
    if len(shards) == 1 and shards[0].name == SINGLE_FILE:
        return None
    if old is not None and old["weight_map"] == placed and weights.nbytes == _total(weights):
        return old
    metadata = {**(old or {}).get("metadata", {}), "total_size": weights.nbytes}
    if "total_parameters" in metadata:
        metadata["total_parameters"] += _elements(weights.outputs) - _elements(weights.base.entries())
    return {**(old or {}), "metadata": metadata, "weight_map": dict(sorted(placed.items()))}


def _elements(tensors: Mapping[str, Any]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _total(weights: MergedWeights) -> int:
    return sum(entry.nbytes for entry in weights.base.entries().values())
