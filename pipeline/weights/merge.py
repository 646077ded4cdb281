"""Base + adapter into merged weights, streaming: a block of rows is in memory, never a model.

LoRA changes neither name, dtype, shape nor order, so an output shard has the same header as its
input shard. Byte ranges that the adapter does not touch are copied by the kernel; for an adapted
tensor a block of rows is read, `scale * B @ A` is added in float32, and the sum is rounded once.
"""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.errors import ReleaseError
from pipeline.files import copy_file, copy_range
from pipeline.progress import Advance, silent
from pipeline.weights.checkpoint import INDEX_FILE, Checkpoint
from pipeline.weights.lora import Adapter, LoraDelta, check_fit
from pipeline.weights.safetensors import Header, TensorEntry

Array = np.ndarray[Any, np.dtype[Any]]

# A block of rows in the base's dtype; in float32 a worker holds a few times as much.
_BLOCK_BYTES = 4 << 20


class MergedWeights:
    """The tensors of base + adapter, computed when asked for.

    Raises ReleaseError, tensor by tensor, when the adapter was not made for the base.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        check_fit(adapter, base)
        self.base = base
        self.adapter = adapter

    def tensor(self, name: str) -> Array:
        """A merged tensor, whole, in the base's dtype and shape.

        Raises ReleaseError when the adapter or the sum is not finite, or the base is cut off.
        """
        shard = self.base.owner(name)
        if shard is None:
            raise KeyError(name)
        merge = RowMerge(self.adapter, self.adapter.deltas[name], shard.tensors[name])
        merged = np.empty(merge.entry.shape, merge.entry.numpy_dtype)
        with _opened(shard.path, os.O_RDONLY) as source, _one_blas_thread():
            for start, stop in _blocks(merge.entry):
                merged[start:stop] = merge.rows(source, start, stop)
        return merged


class RowMerge:
    """Adds one delta to one tensor of the base, block by block."""

    def __init__(self, adapter: Adapter, delta: LoraDelta, entry: TensorEntry) -> None:
        self.entry = entry
        work = np.dtype(np.float64 if entry.dtype == "F64" else np.float32)
        with _overflow_is_found_later():
            a = _finite(adapter, delta.a.name).astype(work)
            b = _finite(adapter, delta.b.name).astype(work) * work.type(delta.scale)
        self._left: Array = a.T if delta.transposed else b
        self._right: Array = b.T if delta.transposed else a

    def rows(self, source: int, start: int, stop: int) -> Array:
        """Rows [start, stop) of the merged tensor, from the base shard open as `source`."""
        entry = self.entry
        length = (stop - start) * entry.row_bytes
        data = os.pread(source, length, entry.start + start * entry.row_bytes)
        if len(data) != length:
            raise ReleaseError(f"the base ended while {entry.name} was read", remedy="fetch the base again, whole")
        base = np.frombuffer(data, entry.numpy_dtype).reshape(stop - start, *entry.shape[1:])
        with _overflow_is_found_later():
            total = self._left[start:stop] @ self._right
            total += base
            merged: Array = total.astype(entry.numpy_dtype)
        if not np.isfinite(merged).all():
            raise ReleaseError(f"{entry.name} is not finite in {entry.dtype} after the merge")
        return merged


def write_merged(weights: MergedWeights, folder: Path, advance: Advance = silent) -> None:
    """Write the merged shards (and the base's index, which stays true) into a folder.

    `advance` counts the bytes of weights written. Raises ReleaseError as `MergedWeights.tensor`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, _one_blas_thread():
        for shard in weights.base.shards:
            _write_shard(weights.adapter, shard, folder / shard.path.name, pool, advance)
    if weights.base.index is not None:
        copy_file(weights.base.folder / INDEX_FILE, folder / INDEX_FILE)


def _one_blas_thread() -> AbstractContextManager[object]:
    """The workers are threads already; BLAS threads of their own would only get in their way (a third
    of the time), and the sum could depend on their number."""
    return threadpool_limits(limits=1, user_api="blas")


def _write_shard(adapter: Adapter, shard: Header, target: Path, pool: ThreadPoolExecutor, advance: Advance) -> None:
    with _opened(shard.path, os.O_RDONLY) as source, _opened(target, os.O_WRONLY | os.O_CREAT) as sink:
        os.ftruncate(sink, shard.size)
        copy_range(source, sink, 0, shard.data_start, 0)
        for entry in shard.tensors.values():
            delta = adapter.deltas.get(entry.name)
            if delta is None:
                copy_range(source, sink, entry.start, entry.nbytes, entry.start, advance)
            else:
                _write_tensor(RowMerge(adapter, delta, entry), source, sink, pool, advance)


def _write_tensor(merge: RowMerge, source: int, sink: int, pool: ThreadPoolExecutor, advance: Advance) -> None:
    entry = merge.entry

    def write(block: tuple[int, int]) -> int:
        data = merge.rows(source, *block).view(np.uint8).data
        written = os.pwrite(sink, data, entry.start + block[0] * entry.row_bytes)
        if written != data.nbytes:
            raise OSError(errno.ENOSPC, f"only a part of {entry.name} could be written")
        return written

    for written in pool.map(write, _blocks(entry)):
        advance(written)


def _blocks(entry: TensorEntry) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_BYTES // entry.row_bytes)
    for start in range(0, entry.shape[0], step):
        yield start, min(start + step, entry.shape[0])


def _finite(adapter: Adapter, name: str) -> Array:
    tensor = adapter.weights.read(name)
    if not np.isfinite(tensor).all():
        raise ReleaseError(
            f"{name} of the adapter {adapter.folder.name} holds NaN or infinity",
            remedy="its training diverged: release another run",
        )
    return tensor


def _overflow_is_found_later() -> np.errstate:
    """No warning of numpy: what is not finite in the end is reported with the tensor's name."""
    return np.errstate(over="ignore", invalid="ignore")


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
