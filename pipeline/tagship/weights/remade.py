"""Merged weights whose files are elsewhere: what is left of a file here, and its tensors made again of what they were
made of, block by block as when they were written, so that they come out the same to the bit."""

import hashlib
import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tagship.system.pool import in_order
from tagship.weights.layout import Shard, lay_out
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.merged_rows import AdapterTensors, MergedRows, SourceRows, one_blas_thread
from tagship.weights.safetensors import read_header
from tagship.weights.scratch import Array
from tagship.weights.sources import Sources


def let_go(path: Path) -> None:
    """Free what a file of tensors takes on the disk, but for its header: its length stays, and its tensors read as
    zeros."""
    header = read_header(path)
    os.truncate(path, header.data_start)
    os.truncate(path, header.size)


def digests_of(weights: MergedWeights, max_shard: int | None = None) -> Iterator[tuple[str, str]]:
    """The name of each file of weights that are not quantized, and the SHA-256 that it has when it is written: the
    tensors are merged once more. Raises ReleaseError as the merge does."""
    adapter = AdapterTensors(weights.adapter)
    with Sources() as sources, one_blas_thread():
        for shard in lay_out(weights, max_shard).shards:
            digest, at = hashlib.sha256(shard.header), len(shard.header)
            for start, data in in_order(_bytes_of, _blocks(shard, adapter, sources)):
                digest.update(bytes(start - at))
                digest.update(data)
                at = start + len(data)
            yield shard.name, digest.hexdigest()


def _blocks(shard: Shard, adapter: AdapterTensors, sources: Sources) -> Iterator[tuple[MergedRows, int, int, int]]:
    """Blocks of rows in the order of a file, and where in it each begins."""
    for output, (place,) in sorted(shard.tensors, key=lambda held: held[1]):
        rows = _merged(output, adapter, sources)
        length = output.nbytes // max(1, rows.stored.count)
        for start, stop in rows.stored.blocks():
            yield rows, start, stop, place + start * length


def _bytes_of(block: tuple[MergedRows, int, int, int]) -> tuple[int, bytes]:
    rows, start, stop, place = block
    return place, rows.rows(start, stop).tobytes()


def _merged(output: Output, adapter: AdapterTensors, sources: Sources) -> MergedRows:
    return MergedRows(adapter, output, SourceRows(output, sources.of(output)))


class RemadeMatrices:
    """Matrices of a merged model, made again as their rows are asked for: of one at a time what its adapter brings is
    in memory."""

    def __init__(self, weights: MergedWeights) -> None:
        self._adapter = AdapterTensors(weights.adapter)
        opened = ExitStack()
        self._sources = opened.enter_context(Sources())
        self._current: MergedRows | None = None
        weakref.finalize(self, opened.close)

    def of(self, output: Output) -> "RemadeMatrix":
        return RemadeMatrix(self, output)

    def rows(self, output: Output, start: int, stop: int) -> Array:
        """Rows [start, stop) in float32, with the values that they have in the output's dtype."""
        with one_blas_thread():
            if self._current is None or self._current.output is not output:
                self._current = _merged(output, self._adapter, self._sources)
            made = np.empty((stop - start, *self._current.stored.row), np.float32)
            for first, end in self._current.stored.blocks():  # as written: sums could depend on what is a block
                if first < stop and end > start:
                    low, high = max(first, start), min(end, stop)
                    made[low - start : high - start] = self._current.floats(first, end)[low - first : high - first]
        return made


class RemadeMatrix:
    """A matrix of a merged model, as `Matrix` has it (`quantized_matrices.py`)."""

    activations: int | None = None

    def __init__(self, made_by: RemadeMatrices, output: Output) -> None:
        self._made_by = made_by
        self._output = output
        self.shape = (output.shape[0], output.shape[1])
        self.parts = (output.name,)

    def rows(self, start: int, stop: int) -> Array:
        return self._made_by.rows(self._output, start, stop)
