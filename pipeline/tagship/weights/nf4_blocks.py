"""Blocks of 64 numbers as NF4 has them, by loops in C where there was a compiler when tagship was installed
(`hatch_build.py`), else by numpy, which makes the same numbers in five times the time. Before the loops are used, a
sample of what they make is compared with that."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array

BLOCK = 64
# bitsandbytes' own 16 values (functional.py, get_4bit_type): quantiles of the normal distribution.
CODE = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
# A number on a bound becomes the value below it.
_BOUNDS = (CODE[:-1] + CODE[1:]) / 2
# What a block of zeros is divided by.
_LEAST = np.float32(1e-38)


def maxima_of(blocks: Array) -> Array:
    """The largest magnitude in each block; float32, shape (blocks, 64), contiguous. NaN where there is one in it."""
    loops = _own_loops()
    if loops is None:
        return np.asarray(np.abs(blocks).max(axis=1))
    return loops.maxima(blocks)


def round_blocks(blocks: Array, maxima: Array, scales: Array) -> None:
    """Have each number be the NF4 value that is the nearest to it over its block's maximum, times the block's scale."""
    inverse = 1 / np.maximum(maxima, _LEAST)
    loops = _own_loops()
    if loops is None:
        _round(blocks, inverse, scales)
    else:
        loops.round(blocks, inverse, scales)


def _round(blocks: Array, inverse: Array, scales: Array) -> None:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite stays so, in numbers that are not either
        blocks *= inverse[:, None]
        nearest = np.zeros(blocks.shape, np.uint8)
        for bound in _BOUNDS:
            nearest += blocks > bound
        CODE.take(nearest, out=blocks, mode="clip")
        blocks *= scales[:, None]


class Loops(Struct, frozen=True):
    """The loops of a library."""

    library: Any

    def maxima(self, blocks: Array) -> Array:
        made = np.empty(len(blocks), np.float32)
        self.library.tagship_nf4_maxima(blocks.ctypes.data, made.ctypes.data, len(blocks))
        return made

    def round(self, blocks: Array, inverse: Array, scales: Array) -> None:
        arrays = (np.ascontiguousarray(array, np.float32) for array in (inverse, scales, CODE, _BOUNDS))
        inverse, scales, code, bounds = arrays
        places = (array.ctypes.data for array in (blocks, inverse, scales, code, bounds))
        self.library.tagship_nf4_round(*places, len(blocks))


@cache
def _own_loops() -> Loops | None:
    return find_loops(library_of("nf4"))


def find_loops(path: Path) -> Loops | None:
    """The loops in a library, where there are any that make the numbers of numpy on this machine."""
    if (library := loaded(path)) is None:
        return None
    library.tagship_nf4_maxima.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_size_t,)
    library.tagship_nf4_round.argtypes = (ctypes.c_void_p,) * 5 + (ctypes.c_size_t,)
    library.tagship_nf4_maxima.restype = library.tagship_nf4_round.restype = None
    loops = Loops(library)
    return loops if _agrees(loops) else None


def _agrees(loops: Loops) -> bool:
    """Whether a sample becomes what numpy makes of it: numbers of all sizes, on and beside the bounds, and NaN."""
    beside = [np.nextafter(_BOUNDS, np.float32(side)) for side in (-2, 2)]
    sample = np.concatenate([CODE, _BOUNDS, *beside, np.linspace(-1, 1, 3, dtype=np.float32)]).astype(np.float32)
    blocks = np.outer([1, -1, 0, 3e-39, 1e-30, 0.3, 7e4, 3e38], sample).astype(np.float32)
    blocks = np.concatenate([blocks, np.full_like(blocks[:1], np.nan)])
    blocks[1, 0] = np.inf
    with np.errstate(all="ignore"):
        maxima, theirs, ours = np.abs(blocks).max(axis=1), blocks.copy(), blocks.copy()
        inverse = 1 / np.maximum(maxima, _LEAST)
        _round(theirs, inverse, maxima)
    if not np.array_equal(loops.maxima(blocks), maxima, equal_nan=True):
        return False
    loops.round(ours, inverse, maxima)
    return np.array_equal(ours, theirs, equal_nan=True)
