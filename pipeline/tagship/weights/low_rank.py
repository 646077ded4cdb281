"""Adds low-rank products to rows in bfloat16 by a loop in C, where there was a compiler when tagship was installed
(`hatch_build.py`): what most tensors of a merge are.

Reading bfloat16, the product, the sum and rounding are one pass over numbers that stay in registers; with a BLAS they
are four over the processor's cache, and take half as long again. A number's products are added up in order, each by one
fused operation, so that all processors that have those make the same bytes, which BLASes do not. Before the loop is
used, what it makes of a sample is checked.
"""

import ctypes
import math
from functools import cache, cached_property
from pathlib import Path

import ml_dtypes
import numpy as np
from msgspec import Struct

from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array

# As low_rank.c has it: columns of the right factor that lie together.
_PANEL = 32
# From this on, magnitudes are rounded to infinity in bfloat16.
_INFINITE = 0x7F7F8000


def can_add() -> bool:
    """Whether the loop is there, this processor can run it, and it is right."""
    return _own_loops() is not None


class LowRankSum:
    """Rows in bfloat16 plus `left @ right`, float32, (rows, rank) and (rank, columns); each sum is rounded once."""

    def __init__(self, left: Array, right: Array) -> None:
        """`can_add` is true."""
        self._left = np.ascontiguousarray(left)
        self._panels = _panels_of(right)

    def add(self, stored: Array, start: int, stop: int, sums: Array) -> bool:
        """Write rows [start, stop), which are `stored`, plus those of the product to `sums`, another array of the same
        shape and dtype; returns whether all of them are finite. Both are contiguous."""
        loops = _own_loops()
        assert loops is not None
        return loops.add(stored, self._left[start:stop], self._panels, sums)

    def largest(self, stored: Array, start: int, stop: int, known: float) -> float:
        """The largest magnitude of those sums, or `known` where that is as large: infinity where one is not finite.
        Most of the product is not made: what is stored and the factors' norms tell that it could not be that large."""
        loops = _own_loops()
        assert loops is not None
        left_sizes, right_sizes = self._sizes
        return loops.largest(stored, self._left[start:stop], self._panels, left_sizes[start:stop], right_sizes, known)

    @cached_property
    def _sizes(self) -> tuple[Array, Array]:
        return _sizes_of(self._left, self._panels)


def _panels_of(right: Array) -> Array:
    """The right factor as [panel][rank][column], with zeros for columns that are not there."""
    rank, columns = right.shape
    count = -(-columns // _PANEL)
    padded = np.zeros((rank, count * _PANEL), np.float32)
    padded[:, :columns] = right
    return np.ascontiguousarray(padded.reshape(rank, count, _PANEL).swapaxes(0, 1))


def _sizes_of(left: Array, panels: Array) -> tuple[Array, Array]:
    """The norms of the left factor's rows, and the largest of each panel's columns: no product is larger than theirs.
    They are a little more than that, for what is lost when sums are rounded, and rounded up themselves."""
    more = 1 + 1e-6 * (left.shape[1] + 16)
    rows = np.sqrt(np.einsum("ij,ij->i", left, left, dtype=np.float64)) * more
    columns = np.sqrt(np.einsum("prc,prc->pc", panels, panels, dtype=np.float64)) * more
    with np.errstate(over="ignore"):
        both = (sizes.astype(np.float32) for sizes in (rows, columns.max(axis=1)))
        first, second = (np.nextafter(sizes, np.float32(np.inf)) for sizes in both)
        return first, second


class Loops(Struct, frozen=True):
    """The loops of a library, over rows that are contiguous."""

    library: ctypes.CDLL

    def add(self, stored: Array, left: Array, panels: Array, sums: Array) -> bool:
        where = stored.ctypes.data, left.ctypes.data, panels.ctypes.data, sums.ctypes.data
        return bool(self.library.tagship_low_rank_add(*where, len(stored), left.shape[1], stored.shape[1]))

    def largest(
        self, stored: Array, left: Array, panels: Array, left_sizes: Array, right_sizes: Array, known: float
    ) -> float:
        where = [array.ctypes.data for array in (stored, left, panels, left_sizes, right_sizes)]
        before = int(np.float32(known).view(np.uint32))
        counts = len(stored), left.shape[1], stored.shape[1]
        found = self.library.tagship_low_rank_largest(*where, before, *counts)
        if found == before:  # of a matrix in another dtype, perhaps
            return known
        return float(np.uint32(found).view(np.float32).astype(ml_dtypes.bfloat16)) if found < _INFINITE else math.inf


@cache
def _own_loops() -> Loops | None:
    return find_loops(library_of("low_rank"))


def find_loops(path: Path) -> Loops | None:
    """The loops of a library, where this processor can run them and they are right."""
    library = loaded(path, "tagship_low_rank_add", "tagship_low_rank_largest")
    if library is None or not library.tagship_low_rank_begin():
        return None
    numbers = (ctypes.c_size_t,) * 3
    library.tagship_low_rank_add.argtypes = (*(ctypes.c_void_p,) * 4, *numbers)
    library.tagship_low_rank_add.restype = ctypes.c_int
    library.tagship_low_rank_largest.argtypes = (*(ctypes.c_void_p,) * 5, ctypes.c_uint32, *numbers)
    library.tagship_low_rank_largest.restype = ctypes.c_uint32
    loops = Loops(library)
    return loops if _are_right(loops) else None


def _are_right(loops: Loops) -> bool:
    """Whether samples with edges on all sides come out as by numpy: whole numbers, of which no sum is rounded before it
    is one of bfloat16, and one that is not finite."""
    rows, rank, columns = 6 * 9 + 5, 7, 2 * _PANEL + 5
    left, right = _numbers(rows, rank, 99), _numbers(rank, columns, 99)
    stored = _numbers(rows, columns, 9999).astype(ml_dtypes.bfloat16)
    sums = np.zeros_like(stored)  # memory that was used before may hold what is right
    expected = (stored.astype(np.float32) + left @ right).astype(ml_dtypes.bfloat16)
    panels = _panels_of(right)
    sizes = _sizes_of(left, panels)
    if not loops.add(stored, left, panels, sums) or expected.tobytes() != sums.tobytes():
        return False
    if loops.largest(stored, left, panels, *sizes, 0) != np.abs(expected.astype(np.float32)).max():
        return False
    stored[-1, -1] = np.inf
    return not loops.add(stored, left, panels, sums) and loops.largest(stored, left, panels, *sizes, 0) == math.inf


def _numbers(rows: int, columns: int, largest: int) -> Array:
    """Whole numbers of up to that magnitude, one unlike the other. numpy's own random ones would have to be loaded."""
    drawn = np.arange(rows * columns) * 7919 % (2 * largest + 1) - largest
    return drawn.reshape(rows, columns).astype(np.float32)
