"""Products of float32 with bfloat16 by the tiles that some processors have for that (Intel's AMX).

Each value becomes three bfloat16, whose sum it is. All products are then exact and summed up in float32, so that what
is made is as near as a BLAS comes to it, in a third to an eighth of the time.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tagship.weights.compiled import loaded
from tagship.weights.product_loops import ProductLoops, are_right
from tagship.weights.scratch import Array, scratch

# As tiles.c has them: tokens and columns of a tile, bfloat16 of a float32, and numbers of weights that are arranged at
# once.
_SIDE, _DEPTH, _TERMS, _PANEL = 16, 32, 3, 256 * 1024

_Loop = Callable[..., None]


class Tiles(ProductLoops):
    """The loops of tiles.c."""

    most_tokens = 512

    def __init__(self, split: _Loop, multiply: _Loop) -> None:
        super().__init__()
        self._split, self._multiply = split, multiply

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


def find_tiles(path: Path) -> Tiles | None:
    """The loops of a library, where this processor can run them and they are right."""
    if (library := loaded(path)) is None or not library.tagship_tiles_begin():
        return None
    split, product = library.tagship_tiles_split, library.tagship_tiles_multiply
    split.argtypes = (*(ctypes.c_void_p,) * 2, *(ctypes.c_size_t,) * 4)
    product.argtypes = (*(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 5)
    split.restype = product.restype = None
    tiles = Tiles(split, product)
    return tiles if are_right(tiles) else None
