"""Arithmetic whose bytes are the same on every processor (`[export] portable`).

A BLAS chooses its kernels by the processor, and each sums in an order of its own, some with fused multiplications. Two
ways lead past that: operations on single numbers, which IEEE 754 rounds in one way, in an order that is fixed here; and
products that are exact in float64, of which every order gives the same. The second is as quick as BLAS is: each row of
the left factor and each column of the right one is rounded to a grid of its own, a power of two, on which the largest
number has `bits` bits. Of a rank r, all products are then whole multiples of one number, and so is every sum of some of
them, none of which exceeds r * 2**(2 * bits) <= 2**53 of it: float64 holds each exactly, and nothing is ever rounded.
"""

from typing import Any

import numpy as np

from tagship.weights.scratch import Array, scratch

_EXACT = np.finfo(np.float64).nmant + 1  # 53: every whole number of so many bits is a float64
# Numbers of a product in float64 that the processor's cache holds beside their factors.
_AT_ONCE = 1 << 18


class ExactProduct:
    """`left @ right`: of float32 with one rounding in the end; of float64, which nothing is wider than, in order."""

    def __init__(self, left: Array, right: Array) -> None:
        self._in_order = left.dtype == np.float64
        rank = left.shape[1]
        bits = (_EXACT - (rank - 1).bit_length()) // 2
        self._left = left if self._in_order else _on_grid(left, 1, bits)
        self._right = right if self._in_order else _on_grid(right, 0, bits)

    def add_to(self, rows: Array, start: int, stop: int) -> None:
        """Add rows [start, stop) of the product to `rows`."""
        step = max(1, _AT_ONCE // max(1, rows.shape[1]))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            some = rows[first - start : last - start]
            if self._in_order:
                some += self._in_turn(some, first, last)
            else:
                self._add_rounded(some, first, last)

    def _add_rounded(self, some: Array, first: int, last: int) -> None:
        exact = scratch("exact product", some.shape, np.dtype(np.float64))
        np.matmul(self._left[first:last], self._right, out=exact)
        # Rounded to what the rows are in, then added: a few thousand numbers at a time, in the nearest cache.
        np.add(some, exact, out=some, dtype=some.dtype, casting="same_kind")

    def _in_turn(self, like: Array, first: int, last: int) -> Array:
        total = scratch("product", like.shape, like.dtype)
        term = scratch("term", like.shape, like.dtype)
        total[:] = 0
        for column, row in zip(self._left[first:last].T, self._right, strict=True):
            np.multiply(column[:, None], row, out=term)
            total += term
        return total


def _on_grid(factor: Array, axis: int, bits: int) -> Array:
    """A factor in float64, rounded along an axis so that each number is a whole multiple, of no more than `bits` bits,
    of a power of two."""
    wide = factor.astype(np.float64)
    _, exponents = np.frexp(np.abs(wide).max(axis=axis, keepdims=True, initial=0))
    wide = np.ldexp(wide, bits - exponents)
    return np.asarray(np.ldexp(np.rint(wide, out=wide), exponents - bits))


def squares_of_rows(rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The sum of the squares of each row, in float64: halves are added to each other until one column is left."""
    squares = np.array(rows, np.float64, order="C")
    squares *= squares
    columns = squares.shape[1]
    while columns > 1:
        half = (columns + 1) // 2
        squares[:, : columns - half] += squares[:, half:columns]
        columns = half
    return squares[:, 0] if squares.shape[1] else np.zeros(len(squares))
