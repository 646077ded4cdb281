"""Products of float32 with weights in bfloat16, by the tiles that some processors have for that (Intel's AMX).

A BLAS has float32 on both sides: weights are cast first, and each is multiplied with vectors. Here they stay as they
are, and each value becomes three bfloat16, whose sum it is. All products are then exact and summed up in float32, so
that what is made is as near as a BLAS comes to it, in a third to an eighth of the time. The loop is in C, where there
was a compiler when tagship was installed (`hatch_build.py`); before it is used, what it makes of a sample is checked.
"""

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import ml_dtypes
import numpy as np

from tagship.system.pool import cores
from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array, scratch

# As tiles.c has them: tokens and columns of a tile, bfloat16 of a float32, and numbers of weights that are arranged at
# once.
_SIDE, _DEPTH, _TERMS, _PANEL = 16, 32, 3, 256 * 1024
# Tokens that are multiplied at once: split, the widest layers take some 25 MB of them.
_TOKENS = 512

_Loop = Callable[..., None]


def can_multiply() -> bool:
    """Whether this processor has tiles, and the loop is there and right."""
    return _own_tiles() is not None


def multiply(values: Array, weights: Array) -> Array:
    """`values @ weights.T`, float32 of shape (tokens, rows): of float32 values, shape (tokens, width), and the bits of
    bfloat16 weights, uint16 of shape (rows, width). Both are contiguous, the width is even, and `can_multiply` true."""
    tiles = _own_tiles()
    assert tiles is not None
    return tiles.multiply(values, weights)


class Tiles:
    """The loops of a library, on all cores."""

    def __init__(self, split: _Loop, multiply: _Loop) -> None:
        self._split, self._multiply = split, multiply
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="tiles")

    def multiply(self, values: Array, weights: Array) -> Array:
        """As the function of that name."""
        made = np.empty((len(values), len(weights)), np.float32)
        for start in range(0, len(values), _TOKENS):
            self._into(made[start : start + _TOKENS], values[start : start + _TOKENS], weights)
        return made

    def _into(self, made: Array, values: Array, weights: Array) -> None:
        tokens, width = values.shape
        blocks = 2 * -(-tokens // (2 * _SIDE))
        size = (blocks, -(-width // _DEPTH), _TERMS, _SIDE, _DEPTH)
        split = scratch("split values", size, np.dtype(np.uint16))
        self._on_all_cores(partial(self._split, values.ctypes.data, split.ctypes.data, tokens, width), blocks, 1)
        given = (split.ctypes.data, weights.ctypes.data, made.ctypes.data)
        shape = (tokens, width, len(weights))
        self._on_all_cores(partial(self._multiplied, given, shape), len(weights), 2 * _SIDE)

    def _multiplied(self, given: Sequence[int], shape: Sequence[int], first: int, last: int) -> None:
        panel = scratch("panel of tiles", (_PANEL,), np.dtype(np.uint16))
        self._multiply(*given, panel.ctypes.data, *shape, first, last)

    def _on_all_cores(self, loop: Callable[[int, int], None], count: int, step: int) -> None:
        """Have parts of so many done, each but the last a multiple of `step`."""
        each = -(-count // (cores() * step)) * step
        starts = range(0, count, each)
        list(self._pool.map(loop, starts, (min(start + each, count) for start in starts)))


@cache
def _own_tiles() -> Tiles | None:
    return find_tiles(library_of("tiles"))


def find_tiles(path: Path) -> Tiles | None:
    """The loops of a library, where this processor can run them and they are right."""
    if (library := loaded(path)) is None or not library.tagship_tiles_begin():
        return None
    split, product = library.tagship_tiles_split, library.tagship_tiles_multiply
    split.argtypes = (*(ctypes.c_void_p,) * 2, *(ctypes.c_size_t,) * 4)
    product.argtypes = (*(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 5)
    split.restype = product.restype = None
    tiles = Tiles(split, product)
    return tiles if _are_right(tiles) else None


def _are_right(tiles: Tiles) -> bool:
    """Whether samples with edges on all sides come out without an error: sums that float32 has room for, and numbers
    that need all of their bits, each times a power of two."""
    drawn = np.random.default_rng(0)
    tokens, width, rows = 2 * _SIDE + 5, 1024 + _DEPTH + 6, 2 * _SIDE + 7
    numbers = drawn.integers(-4096, 4097, (tokens, width)).astype(np.float32)
    small = drawn.integers(-3, 4, (rows, width)).astype(ml_dtypes.bfloat16)
    whole = drawn.standard_normal((tokens, width), np.float32)
    one = np.zeros((rows, width), ml_dtypes.bfloat16)
    one[np.arange(rows), drawn.integers(0, width, rows)] = np.ldexp(1, drawn.integers(-9, 9, rows))
    return all(
        bool(
            (tiles.multiply(left, right.view(np.uint16)) == left.astype(np.float64) @ right.astype(np.float64).T).all()
        )
        for left, right in ((numbers, small), (whole, one))
    )
