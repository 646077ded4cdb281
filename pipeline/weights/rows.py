"""The rows of a merged tensor, block by block: read, changed in float32, rounded once, checked."""

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.errors import ReleaseError
from pipeline.weights.changes import Array
from pipeline.weights.dtypes import DTYPES
from pipeline.weights.lora import Adapter
from pipeline.weights.merge import MergedWeights, Output
from pipeline.weights.safetensors import TensorEntry

# A block of rows in the base's dtype. What a worker makes of it in float32 stays in a core's cache: with
# 4 MiB the merge takes a third more time.
_BLOCK_BYTES = 1 << 20


class MergedRows:
    """Computes blocks of rows of one output tensor, whose source is open as a descriptor.

    Raises ReleaseError when the adapter is not finite, or the base is cut off.
    """

    def __init__(self, adapter: Adapter, output: Output, source: int) -> None:
        self.output = output
        self._adapter = adapter
        self._source = source
        self._entry = output.source.entry
        self._work = np.dtype(np.float64 if self._entry.dtype == "F64" else np.float32)
        self._row_shape = output.shape[1:]
        self._row_bytes = self._entry.nbytes // max(1, self.count)
        self._changes: list[Any] = []
        for change in output.changes:
            with quiet():
                self._changes.append(change.ready(lambda entry: _finite(adapter, entry, self._work), self._walk))

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.output.shape[0] if self.output.shape else 1

    @property
    def row_nbytes(self) -> int:
        """The bytes of one merged row."""
        return self.output.nbytes // max(1, self.count)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The blocks to ask for, in order."""
        step = max(1, _BLOCK_BYTES // max(1, self._row_bytes))
        for start in range(0, self.count, step):
            yield start, min(start + step, self.count)

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), in the output's dtype.

        Raises ReleaseError when they are not finite any more, as f16 overflows.
        """
        if self.output.copied:
            return self._stored(start, stop)
        with quiet():
            total = self._changed(start, stop)
            merged: Array = total.astype(DTYPES[self.output.dtype], copy=False)
        # Two quick passes in float32, where asking 16-bit floats one by one takes longer than the merge.
        # What is not a number makes both comparisons false.
        limit = _largest(self.output.dtype, total.dtype)
        if total.size and not (total.max() < limit and total.min() > -limit):
            raise ReleaseError(
                f"{self.output.name} is not finite in {self.output.dtype} after the merge",
                remedy="choose another [export] dtype" if self.output.dtype != self._entry.dtype else None,
            )
        return merged

    def floats(self, start: int, stop: int) -> Array:
        """Rows [start, stop) in float32, with the values that they have in the output's dtype."""
        if self.output.copied:
            return self._changed(start, stop).astype(np.float32, copy=False)
        return self.rows(start, stop).astype(np.float32)

    def _changed(self, start: int, stop: int) -> Array:
        stored = self._stored(start, stop)
        if self.output.replaced:
            _check_finite(self._adapter, self._entry.name, stored)
        total = stored.astype(self._work)
        for apply in self._changes:
            apply(total, start, stop)
        return total

    def _stored(self, start: int, stop: int) -> Array:
        length = (stop - start) * self._row_bytes
        data = os.pread(self._source, length, self._entry.start + start * self._row_bytes)
        if len(data) != length:
            raise cut_off(self.output)
        return np.frombuffer(data, DTYPES[self._entry.dtype]).reshape(stop - start, *self._row_shape)

    def _walk(self) -> Iterator[tuple[Array, int, int]]:
        for start, stop in self.blocks():
            yield self._changed(start, stop), start, stop


def whole_tensor(weights: MergedWeights, name: str) -> Array:
    """A merged tensor, whole, in its dtype and shape. Raises ReleaseError as `MergedRows`."""
    output = weights.outputs[name]
    with opened(output.source.path) as source, one_blas_thread():
        merged = MergedRows(weights.adapter, output, source)
        whole = np.empty((merged.count, *output.shape[1:]), DTYPES[output.dtype])
        for start, stop in merged.blocks():
            whole[start:stop] = merged.rows(start, stop)
    return whole.reshape(output.shape)


def cut_off(output: Output) -> ReleaseError:
    """What to raise when a tensor's source has lost its end since its header was read."""
    whose, remedy = ("adapter", "save") if output.replaced else ("base", "fetch")
    return ReleaseError(f"the {whose} ended while {output.name} was read", remedy=f"{remedy} the {whose} again, whole")


def one_blas_thread() -> AbstractContextManager[object]:
    """The workers are threads already; BLAS threads of their own would only get in their way (a third
    of the time), and the sum could depend on their number."""
    return threadpool_limits(limits=1, user_api="blas")


def quiet() -> np.errstate:
    """No warning of numpy: what is not finite in the end is reported with the tensor's name."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A file's descriptor, closed at the end."""
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _largest(dtype: str, work: "np.dtype[Any]") -> float:
    """The first number that is rounded to infinity: half a step above the largest of a dtype."""
    if DTYPES[dtype] == work:
        return math.inf
    info: Any = ml_dtypes.finfo(DTYPES[dtype])  # type: ignore[no-untyped-call]
    largest = float(info.max)
    return largest + 2.0 ** math.floor(math.log2(largest)) * float(info.eps) / 2


def _finite(adapter: Adapter, entry: TensorEntry, work: "np.dtype[Any]") -> Array:
    tensor = adapter.weights.read(entry.name)
    _check_finite(adapter, entry.name, tensor)
    return tensor.astype(work)


def _check_finite(adapter: Adapter, name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise ReleaseError(
            f"{name} of the adapter {adapter.folder.name} holds NaN or infinity",
            remedy="its training diverged: release another run",
        )
