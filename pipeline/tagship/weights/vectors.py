"""Products of float32 with bfloat16 by the fused multiplications of AVX2.

A block of weights is cast and turned into the order that its products take it in, which a BLAS does with float32 before
it begins. So casting takes no pass of its own, and what is made is as near as a BLAS comes to it: of some dozens of
tokens in half of the time, of hundreds in two thirds, on processors that MKL has no kernels for (AMD's).
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tagship.weights.compiled import loaded
from tagship.weights.product_loops import ProductLoops, are_right
from tagship.weights.scratch import Array, scratch

# As vectors.c has them: tokens and rows of a block, columns of blocks, and how many of those are arranged at a time.
_TOKENS, _ROWS, _DEPTH, _BLOCKS = 6, 16, 256, 16
# Rows that are done at a time: where one core waits for the disk, the other goes on.
_PART = 2 * _BLOCKS * _ROWS

_Loop = Callable[..., None]


class Vectors(ProductLoops):
    """The loops of vectors.c."""

    most_tokens = 1024

    def __init__(self, arrange: _Loop, multiply: _Loop) -> None:
        super().__init__()
        self._arrange, self._multiply = arrange, multiply

    def _into(self, made: Array, values: Array, weights: Array) -> None:
        tokens, width = values.shape
        padded = -(-tokens // _TOKENS) * _TOKENS
        arranged = scratch("arranged values", (width, padded), np.dtype(np.float32))
        self._arrange(values.ctypes.data, arranged.ctypes.data, tokens, width)
        given = (arranged.ctypes.data, weights.ctypes.data, made.ctypes.data)
        shape = (tokens, width, len(weights))
        self._on_all_cores(partial(self._multiplied, given, shape), len(weights), _ROWS, most=_PART)

    def _multiplied(self, given: Sequence[int], shape: Sequence[int], first: int, last: int) -> None:
        blocks = scratch("blocks of weights", (_BLOCKS, _DEPTH, _ROWS), np.dtype(np.float32))
        self._multiply(*given, blocks.ctypes.data, *shape, first, last)


def find_vectors(path: Path) -> Vectors | None:
    """The loops of a library, where this processor can run them and they are right."""
    if (library := loaded(path)) is None or not library.tagship_vectors_begin():
        return None
    arrange, product = library.tagship_vectors_arrange, library.tagship_vectors_multiply
    arrange.argtypes = (*(ctypes.c_void_p,) * 2, *(ctypes.c_size_t,) * 2)
    product.argtypes = (*(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 5)
    arrange.restype = product.restype = None
    vectors = Vectors(arrange, product)
    return vectors if are_right(vectors) else None
