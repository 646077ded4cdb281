"""Adds low-rank products to rows in bfloat16 by a loop in C, where there was a compiler when tagship was installed
(`hatch_build.py`): what most tensors of a merge are.

Reading bfloat16, the product, the sum and rounding are one pass over numbers that stay in registers; with a BLAS they
are four over the processor's cache, and take half as long again. A number's products are added up in order, each by one
fused operation, so that all processors that have those make the same bytes, which BLASes do not. Before the loop is
used, what it makes of a sample is checked.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np

from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array

# As low_rank.c has it: columns of the right factor that lie together.
_PANEL = 32
# Where rows, the left factor, panels of the right one and the sums lie; how many rows, the rank, how many columns;
# returns whether all of the sums are finite.
_Loop = Callable[[int, int, int, int, int, int, int], int]


def can_add() -> bool:
    """Whether the loop is there, this processor can run it, and it is right."""
    return _own_loop() is not None


class LowRankSum:
    """Rows in bfloat16 plus `left @ right`, float32, (rows, rank) and (rank, columns); each sum is rounded once."""

    def __init__(self, left: Array, right: Array) -> None:
        """`can_add` is true."""
        self._left = np.ascontiguousarray(left)
        self._panels = _panels_of(right)

    def add(self, stored: Array, start: int, stop: int, sums: Array) -> bool:
        """Write rows [start, stop), which are `stored`, plus those of the product to `sums`, another array of the same
        shape and dtype; returns whether all of them are finite. Both are contiguous."""
        loop = _own_loop()
        assert loop is not None
        return _add(loop, stored, self._left[start:stop], self._panels, sums)


def _panels_of(right: Array) -> Array:
    """The right factor as [panel][rank][column], with zeros for columns that are not there."""
    rank, columns = right.shape
    count = -(-columns // _PANEL)
    padded = np.zeros((rank, count * _PANEL), np.float32)
    padded[:, :columns] = right
    return np.ascontiguousarray(padded.reshape(rank, count, _PANEL).swapaxes(0, 1))


def _add(loop: _Loop, stored: Array, left: Array, panels: Array, sums: Array) -> bool:
    where = stored.ctypes.data, left.ctypes.data, panels.ctypes.data, sums.ctypes.data
    return bool(loop(*where, len(stored), left.shape[1], stored.shape[1]))


@cache
def _own_loop() -> _Loop | None:
    return find_loop(library_of("low_rank"))


def find_loop(path: Path) -> _Loop | None:
    """The loop of a library, where this processor can run it and it is right."""
    if (library := loaded(path)) is None or not library.tagship_low_rank_begin():
        return None
    loop = library.tagship_low_rank_add
    loop.argtypes = (*(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 3)
    loop.restype = ctypes.c_int
    return loop if _is_right(loop) else None


def _is_right(loop: _Loop) -> bool:
    """Whether samples with edges on all sides come out as by numpy: whole numbers, of which no sum is rounded before it
    is one of bfloat16, and one that is not finite."""
    rows, rank, columns = 6 * 9 + 5, 7, 2 * _PANEL + 5
    left, right = _numbers(rows, rank, 99), _numbers(rank, columns, 99)
    stored = _numbers(rows, columns, 9999).astype(ml_dtypes.bfloat16)
    sums = np.zeros_like(stored)  # memory that was used before may hold what is right
    expected = (stored.astype(np.float32) + left @ right).astype(ml_dtypes.bfloat16)
    if not _add(loop, stored, left, _panels_of(right), sums) or expected.tobytes() != sums.tobytes():
        return False
    stored[-1, -1] = np.inf
    return not _add(loop, stored, left, _panels_of(right), sums)


def _numbers(rows: int, columns: int, largest: int) -> Array:
    """Whole numbers of up to that magnitude, one unlike the other. numpy's own random ones would have to be loaded."""
    drawn = np.arange(rows * columns) * 7919 % (2 * largest + 1) - largest
    return drawn.reshape(rows, columns).astype(np.float32)
