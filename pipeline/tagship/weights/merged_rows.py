"""The rows of a merged tensor, block by block: read, changed in float32, rounded once, checked."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from threadpoolctl import threadpool_limits

from tagship.system.errors import ReleaseError
from tagship.weights.bf16 import can_round, round_to_bf16
from tagship.weights.changes import LowRank, Read
from tagship.weights.dtypes import DTYPES
from tagship.weights.lora import Adapter
from tagship.weights.low_rank import LowRankSum, can_add
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.safetensors import TensorEntry
from tagship.weights.scheme_loops import magnitudes
from tagship.weights.scratch import Array, scratch
from tagship.weights.sources import Source, Sources

# A block of rows in the base's dtype. What a worker makes of it in float32 stays in the processor's cache: with
# 4 MiB the merge takes a third more time.
_BLOCK_BYTES = 1 << 20
# Tensors of an adapter that are kept: A and B of the two parameters that the experts of a layer have, in each of two
# files that are written side by side.
_KEPT = 8


class SourceRows:
    """The rows of one tensor as its file has them."""

    def __init__(self, output: Output, source: Source) -> None:
        self._output = output
        self._source = source
        self._entry = output.source.entry
        self.count, self.row = _rows_of(self._entry.shape)
        self._row_bytes = self._entry.nbytes // max(1, self.count)

    def blocks(self, together: int = 1) -> Iterator[tuple[int, int]]:
        """The blocks to ask for, in order; each begins at a multiple of so many rows."""
        step = max(1, _BLOCK_BYTES // max(1, self._row_bytes) // together) * together
        for start in range(0, self.count, step):
            yield start, min(start + step, self.count)

    def read(self, start: int, stop: int) -> Array:
        """Rows [start, stop), until this thread's next call.

        Raises ReleaseError when the file was cut off or changed.
        """
        rows = scratch("stored", (stop - start, *self.row), DTYPES[self._entry.dtype])
        self._source.read(
            rows.reshape(-1).view(np.uint8).data, self._entry.start + start * self._row_bytes, self._output
        )
        return rows


class AdapterTensors:
    """The tensors of an adapter to compute with. Those of all experts are kept for a while: their next one follows."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._kept: dict[tuple[str, str], Array] = {}

    @property
    def folder(self) -> Path:
        """Where the adapter is."""
        return self._adapter.folder

    def read(self, work: "np.dtype[Any]", entry: TensorEntry, *, kept: bool = False) -> Array:
        """A tensor in the dtype of the work, not to be changed. Raises ReleaseError when it is not finite."""
        key = (entry.name, work.name)
        if key in self._kept:
            return self._kept[key]
        tensor = self._adapter.weights.read(entry.name)
        converted = tensor.astype(work, copy=False)
        self.check(entry.name, tensor, converted)
        if kept:
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = converted
        return converted

    def check(self, name: str, stored: Array, converted: Array) -> None:
        """Raise ReleaseError when numbers of the adapter are not finite."""
        # Asking 16-bit floats one by one takes longer than the merge.
        if stored.size and not _fits(converted, math.inf) and not np.isfinite(stored).all():
            raise ReleaseError(
                f"{name} of the adapter {self._adapter.folder.name} holds NaN or infinity",
                remedy="its training diverged: release another run",
            )


class MergedRows:
    """Computes blocks of rows of one output tensor. Raises ReleaseError when the adapter is not finite.

    Arrays that are returned hold until this thread's next call.
    """

    def __init__(self, adapter: "AdapterTensors", output: Output, stored: SourceRows) -> None:
        self.output = output
        self.stored = stored
        self._adapter = adapter
        self._entry = output.source.entry
        self._work = np.dtype(np.float64 if self._entry.dtype == "F64" else np.float32)
        self._changes: list[Any] = []
        read = partial(adapter.read, self._work)
        with quiet():
            self._sum = _sum_of(output, read)
            for change in () if self._sum else output.changes:
                self._changes.append(change.ready(read, self._walk))

    def merge(self, stored: Array, start: int, stop: int) -> Array:
        """Rows [start, stop) in the output's dtype, of what the source has there.

        Raises ReleaseError when they are not finite any more, as f16 overflows.
        """
        if self.output.unchanged:
            return stored
        if self._sum:
            merged = scratch("merged", stored.shape, stored.dtype)
            fits = self._sum.add(stored, start, stop, merged)
        else:
            with quiet():
                merged, fits = self._rounded(self._changed(stored, start, stop))
        if not fits:
            raise ReleaseError(
                f"{self.output.name} is not finite in {self.output.dtype} after the merge",
                remedy="choose another [export] dtype" if self.output.dtype != self._entry.dtype else None,
            )
        return merged

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop) in the output's dtype, read and merged. Raises ReleaseError as `merge` and `read`."""
        return self.merge(self.stored.read(start, stop), start, stop)

    def largest(self, start: int, stop: int, known: float) -> float:
        """The largest magnitude in rows [start, stop), or `known` where that is as large. Raises ReleaseError as `rows`
        and, where they are not finite, as `merge`."""
        stored = self.stored.read(start, stop)
        if self._sum and (found := self._sum.largest(stored, start, stop, known)) < math.inf:
            return found
        return max(known, float(magnitudes(self.merge(stored, start, stop), self.stored.row[0]).max()))

    def floats(self, start: int, stop: int) -> Array:
        """Rows [start, stop) in float32, with the values that they have in the output's dtype."""
        rows = self.rows(start, stop)
        if rows.dtype == np.float32:
            return rows
        floats = scratch("floats", rows.shape, np.dtype(np.float32))
        with quiet():
            np.copyto(floats, rows, casting="unsafe")
        return floats

    def _rounded(self, total: Array) -> tuple[Array, bool]:
        """Numbers in the output's dtype, and whether they are finite there."""
        dtype = DTYPES[self.output.dtype]
        if total.dtype == dtype:
            return total, _fits(total, math.inf)
        merged = scratch("merged", total.shape, dtype)
        if total.dtype == np.float32 and self.output.dtype == "BF16" and can_round():
            return merged, round_to_bf16(total, merged)
        np.copyto(merged, total, casting="unsafe")
        return merged, _fits(total, _largest(self.output.dtype))

    def _changed(self, stored: Array, start: int, stop: int) -> Array:
        total = scratch("total", stored.shape, self._work)
        np.copyto(total, stored, casting="unsafe")
        if self.output.replaced:
            self._adapter.check(self._entry.name, stored, total)
        for apply in self._changes:
            apply(total, start, stop)
        return total

    def _walk(self) -> Iterator[tuple[Array, int, int]]:
        for start, stop in self.stored.blocks():
            yield self._changed(self.stored.read(start, stop), start, stop), start, stop


def whole_tensor(weights: MergedWeights, name: str, adapter: "AdapterTensors | None" = None) -> Array:
    """A merged tensor, whole, in its dtype and shape; `adapter` is what has read tensors of it already.

    Raises ReleaseError as `MergedRows`."""
    output = weights.outputs[name]
    with Sources() as sources, one_blas_thread():
        stored = SourceRows(output, sources.of(output))
        merged = MergedRows(adapter or AdapterTensors(weights.adapter), output, stored)
        whole = np.empty((stored.count, *stored.row), DTYPES[output.dtype])
        for start, stop in stored.blocks():
            whole[start:stop] = merged.rows(start, stop)
    return whole.reshape(output.shape)


def _sum_of(output: Output, read: Read) -> LowRankSum | None:
    """What makes all of an output's rows in one pass, where that is to be had: most are bfloat16 and the product of one
    LoRA."""
    if output.replaced or {output.source.entry.dtype, output.dtype} != {"BF16"} or not can_add():
        return None
    match output.changes:
        case (LowRank(portable=False) as change,):
            return LowRankSum(*change.factors(read))
    return None


def _rows_of(shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """How many rows a tensor has, and the shape of each: all but the last dimension are walked over."""
    return (math.prod(shape[:-1]), shape[-1:]) if len(shape) > 1 else (math.prod(shape), ())


def one_blas_thread() -> AbstractContextManager[object]:
    """The workers are threads already; BLAS threads of their own would only get in their way (a third
    of the time), and the sum could depend on their number."""
    return threadpool_limits(limits=1, user_api="blas")


def quiet() -> np.errstate:
    """No warning of numpy: what is not finite in the end is reported with the tensor's name."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _fits(values: Array, limit: float) -> bool:
    """Whether all numbers are finite, and below a limit in magnitude.

    The sum of their squares is one quick pass, and tells in nearly all cases; what is not a number makes every
    comparison false.
    """
    flat = values.reshape(-1)
    # Far enough below that rounding in the sum does not matter.
    if flat.dot(flat) < min(limit, math.sqrt(float(np.finfo(values.dtype).max))) ** 2 / 2:
        return True
    return not flat.size or bool(flat.max() < limit and flat.min() > -limit)


def _largest(dtype: str) -> float:
    """The first number that is rounded to infinity: half a step above the largest of a dtype."""
    info: Any = ml_dtypes.finfo(DTYPES[dtype])  # type: ignore[no-untyped-call]
    largest = float(info.max)
    return largest + 2.0 ** math.floor(math.log2(largest)) * float(info.eps) / 2
