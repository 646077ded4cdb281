"""The numbers of groups of a row, divided by their scale and rounded to 8 or 4 bits.

For bfloat16 there are loops in C where there was a compiler when tagship was installed (`hatch_build.py`); numpy and
ml_dtypes make the same bytes, in many times the time. Before the loops are used, a sample of what they make is compared
with that.
"""

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from msgspec import Struct

from tagship.weights.compiled import library_of, loaded
from tagship.weights.schemes import FP4, FP8, INT4
from tagship.weights.scratch import Array, scratch

_BF16 = np.dtype(ml_dtypes.bfloat16)
_FP8 = np.dtype(ml_dtypes.float8_e4m3fn)
# Halfway between the magnitudes that FP4 has, and whether that goes to the one below.
_FP4_BOUNDS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
_BELOW = (True, False, True, False, True, False, True)
# The least step between two numbers of MLX's.
_LEAST_AFFINE = np.float32(1e-7)
_AFFINE_BITS = (4, 8)


def magnitudes(rows: Array, width: int) -> Array:
    """The largest magnitude in each group of so many numbers; float32. What is not finite is not below infinity."""
    loops = _own_loops() if rows.dtype == _BF16 else None
    return loops.magnitudes(rows, width) if loops else _magnitudes(rows, width)


def divided_to(kind: str, rows: Array, scales: Array, width: int) -> Array:
    """Numbers divided by the scale of their group (float32), and rounded: bytes, of 4 bits two in each, the first
    one in the lower half."""
    loops = _own_loops() if rows.dtype == _BF16 else None
    return loops.divided_to(kind, rows, scales, width) if loops else _divided_to(kind, rows, scales, width)


def to_affine(rows: Array, width: int, bits: int) -> tuple[Array, Array, Array]:
    """Groups of up to 512 numbers as whole ones of 4 or 8 bits, which are times a scale plus a bias: the bytes, of 4
    bits two numbers in each, and scales and biases in float32. The end of a group with the larger magnitude stays what
    it is. Scales of what is not finite, or has a range that is not, are not finite either."""
    loops = _own_loops() if rows.dtype == _BF16 else None
    return loops.to_affine(rows, width, bits) if loops else _to_affine(rows, width, bits)


def _magnitudes(rows: Array, width: int) -> Array:
    return np.abs(rows.reshape(-1, width).astype(np.float32)).max(axis=1)


def _divided_to(kind: str, rows: Array, scales: Array, width: int) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        divided = rows.reshape(-1, width).astype(np.float32) / scales.reshape(-1, 1)
        if kind != FP4:  # which has its scales in float32, and is divided in that
            divided = divided.astype(rows.dtype).astype(np.float32)
    return _KINDS[kind](divided)


def _to_affine(rows: Array, width: int, bits: int) -> tuple[Array, Array, Array]:
    """MLX's arithmetic, mlx/backend/cpu/quantized.cpp of 0.32 (quantize)."""
    numbers = rows.reshape(-1, width).astype(np.float32)
    most = np.float32((1 << bits) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        largest, least = numbers.max(axis=1), numbers.min(axis=1)
        below = np.abs(least) > np.abs(largest)
        scales = np.maximum((largest - least) / most, _LEAST_AFFINE)
        scales = np.where(below, scales, -scales)
        edges = np.where(below, least, largest)
        steps = np.rint(edges / scales)
        whole = steps != 0
        scales = np.where(whole, edges / np.where(whole, steps, 1), scales)
        biases = np.where(whole, edges, np.float32(0))
        codes = np.rint(np.clip((numbers - biases[:, None]) / scales[:, None], 0, most)).astype(np.uint8)
    return codes.reshape(-1) if bits == 8 else _pairs(codes), scales, biases


def _to_fp8(numbers: Array) -> Array:
    rounded = np.clip(numbers, -448, 448).astype(_FP8).view(np.uint8)
    return np.asarray(rounded)


def _to_int4(numbers: Array) -> Array:
    return _pairs((np.rint(np.clip(numbers, -8, 7)) + 8).astype(np.uint8))


def _to_fp4(numbers: Array) -> Array:
    sizes, codes = np.abs(numbers), np.zeros(numbers.shape, np.uint8)
    for bound, below in zip(_FP4_BOUNDS, _BELOW, strict=True):
        codes += sizes > bound if below else sizes >= bound
    return _pairs(codes | (numbers < 0).astype(np.uint8) << 3)


def _pairs(codes: Array) -> Array:
    flat = codes.reshape(-1, 2)
    return np.asarray(flat[:, 0] | flat[:, 1] << 4)


_KINDS: Mapping[str, Callable[[Array], Array]] = {FP8: _to_fp8, INT4: _to_int4, FP4: _to_fp4}


class Loops(Struct, frozen=True):
    """The loops of a library, for rows of bfloat16."""

    library: Any

    def magnitudes(self, rows: Array, width: int) -> Array:
        made = np.empty(rows.size // width, np.float32)
        self.library.tagship_magnitudes(rows.ctypes.data, made.ctypes.data, len(made), width)
        return made

    def divided_to(self, kind: str, rows: Array, scales: Array, width: int) -> Array:
        scales = np.ascontiguousarray(scales, np.float32).reshape(-1)
        made = scratch("quantized", (rows.size if kind == FP8 else rows.size // 2,), np.dtype(np.uint8))
        loop = getattr(self.library, f"tagship_to_{kind}")
        loop(rows.ctypes.data, scales.ctypes.data, made.ctypes.data, len(scales), width)
        return made

    def to_affine(self, rows: Array, width: int, bits: int) -> tuple[Array, Array, Array]:
        groups = rows.size // width
        made = scratch("quantized", (rows.size * bits // 8,), np.dtype(np.uint8))
        scales, biases = np.empty(groups, np.float32), np.empty(groups, np.float32)
        self.library.tagship_to_affine(
            rows.ctypes.data, made.ctypes.data, scales.ctypes.data, biases.ctypes.data, groups, width, bits
        )
        return made, scales, biases


@cache
def _own_loops() -> Loops | None:
    return find_loops(library_of("schemes"))


def find_loops(path: Path) -> Loops | None:
    """The loops in a library, where there are any that make the bytes of numpy on this machine."""
    if (library := loaded(path)) is None:
        return None
    library.tagship_magnitudes.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_size_t,) * 2
    library.tagship_magnitudes.restype = None
    for kind in _KINDS:
        loop = getattr(library, f"tagship_to_{kind}")
        loop.argtypes, loop.restype = (ctypes.c_void_p,) * 3 + (ctypes.c_size_t,) * 2, None
    library.tagship_to_affine.argtypes = (ctypes.c_void_p,) * 4 + (ctypes.c_size_t,) * 2 + (ctypes.c_int,)
    library.tagship_to_affine.restype = None
    loops = Loops(library)
    return loops if _agrees(loops) else None


def _agrees(loops: Loops) -> bool:
    """Whether a sample becomes what numpy makes of it: all finite bfloat16, by scales of several sizes."""
    sample = np.arange(1 << 16, dtype=np.uint16).view(_BF16)
    sample = sample[np.isfinite(sample.astype(np.float32))]
    rows = sample[: len(sample) // 48 * 48].reshape(-1, 48)
    if not np.array_equal(loops.magnitudes(rows, 16), _magnitudes(rows, 16)):
        return False
    for scale, kind in product((0.0078125, 0.3, 1.0, 3.4e-3, 7e4), _KINDS):
        scales = np.full(rows.size // 16, scale, np.float32)
        if loops.divided_to(kind, rows, scales, 16).tobytes() != _divided_to(kind, rows, scales, 16).tobytes():
            return False
    together = sample[: len(sample) // 32 * 32].reshape(-1, 32)
    # Numbers that are next to each other, and some of all sizes.
    groups = np.concatenate([together, np.ascontiguousarray(together.reshape(32, -1).T)])
    return all(_same(loops.to_affine(groups, 32, bits), _to_affine(groups, 32, bits)) for bits in _AFFINE_BITS)


def _same(ours: tuple[Array, ...], theirs: tuple[Array, ...]) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(ours, theirs, strict=True))
