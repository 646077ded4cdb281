"""Rounds float32 to bfloat16 by a loop in C, where there was a compiler when tagship was installed (`hatch_build.py`).

Rounding is a third of the arithmetic of a merge. ml_dtypes makes the same bytes, in five times the time, and does
it where there is no such loop; before the loop is used, a sample of what it rounds is compared with that.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np

from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array

# Where float32 values lie, where what they are rounded to goes, their number; returns whether all of that is finite.
_Loop = Callable[[int, int, int], int]


def can_round() -> bool:
    """Whether the loop is there, and makes the bytes of ml_dtypes on this machine."""
    return _own_loop() is not None


def round_to_bf16(values: Array, rounded: Array) -> bool:
    """Round float32 `values` to the nearest in `rounded`, bfloat16 of the same shape, ties to the even one; returns
    whether all of it is finite. Both are contiguous, and `can_round` is true."""
    loop = _own_loop()
    assert loop is not None
    return bool(loop(values.ctypes.data, rounded.ctypes.data, values.size))


@cache
def _own_loop() -> _Loop | None:
    return find_loop(library_of("bf16"))


def find_loop(path: Path) -> _Loop | None:
    """The loop in a library, where there is one that makes the bytes of ml_dtypes on this machine."""
    if (library := loaded(path)) is None:
        return None
    loop = library.tagship_round_to_bf16
    loop.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    loop.restype = ctypes.c_int
    return loop if _agrees(loop) else None


def _agrees(loop: _Loop) -> bool:
    """Whether a sample is rounded as by ml_dtypes: all leading halves, with what decides where the others go."""
    leading = np.arange(1 << 16, dtype=np.uint32) << 16
    halves = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    sample = (leading[:, None] | halves).view(np.float32).reshape(-1)
    sample = sample[np.abs(sample) < 2.0**127]
    ours, theirs = np.empty(sample.shape, ml_dtypes.bfloat16), sample.astype(ml_dtypes.bfloat16)
    return bool(loop(sample.ctypes.data, ours.ctypes.data, sample.size)) and ours.tobytes() == theirs.tobytes()
