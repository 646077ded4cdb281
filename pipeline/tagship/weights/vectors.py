"""Products of float32 with bfloat16 by the fused multiplications of AVX2.

A block of weights is cast and turned into the order that its products take it in, which a BLAS does with float32 before
it begins. So casting takes no pass of its own, and what is made is as near as a BLAS comes to it: of some dozens of
tokens in half of the time, of hundreds in four fifths, on processors that MKL has no kernels for (AMD's).
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tagship.weights.compiled import loaded
from tagship.weights.product_loops import ProductLoops, are_right
from tagship.weights.scratch import Array, scratch

# As vectors.c has them: rows of a block of weights, and columns of which values are near at a time.
_ROWS, _DEPTH = 16, 384


class Vectors(ProductLoops):
    """The loop of vectors.c."""

    def __init__(self, multiply: Callable[..., None]) -> None:
        super().__init__()
        self._multiply = multiply

    def _into(self, made: Array, values: Array, weights: Array) -> None:
        given = (values.ctypes.data, weights.ctypes.data, made.ctypes.data)
        shape = (*values.shape, len(weights))
        self._on_all_cores(partial(self._multiplied, given, shape), len(weights), _ROWS)

    def _multiplied(self, given: Sequence[int], shape: Sequence[int], first: int, last: int) -> None:
        near = scratch("values nearby", (shape[0], _DEPTH), np.dtype(np.float32))
        self._multiply(*given, near.ctypes.data, *shape, first, last)


def find_vectors(path: Path) -> Vectors | None:
    """The loop of a library, where this processor can run it and it is right."""
    if (library := loaded(path)) is None or not library.tagship_vectors_begin():
        return None
    product = library.tagship_vectors_multiply
    product.argtypes = (*(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 5)
    product.restype = None
    vectors = Vectors(product)
    return vectors if are_right(vectors) else None
