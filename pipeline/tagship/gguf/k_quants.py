"""K-quants several times as fast as ggml encodes them, to the same bytes, weighed or not.

Nearly all of the time of such a file goes into the search for each block's scale and minimum. ggml does it for
one block after another, and its sums, whose order decides the bits, cannot be vectorized; here a loop in C
(`k_quants.c`, compiled when tagship is installed) does it for many blocks side by side, each in ggml's own order of
operations (ggml-quants.c, of the revision that `quant_mix.py` names). Before a type is used, a sample is compared with
what ggml writes on this machine: where that differs, as with a ggml that fuses multiply and add, ggml encodes
everything. It also encodes Q3_K that is not weighed, by another search, which ends early and is quick enough.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tagship.gguf import ggml
from tagship.weights.compiled import library_of, loaded
from tagship.weights.scratch import Array

# Numbers that share a scale of scales.
_ROW = 256
# By ggml's numbers of types: Q2_K to Q6_K.
_Q3_K = 11
_KINDS = (10, _Q3_K, 12, 13, 14)
# The type; where rows, the importance of columns, what is written and what is left to ggml lie; how many rows of 256,
# and of these in a row of the matrix.
_Loop = Callable[[int, int, int | None, int, int, int, int], None]
_Importance = np.ndarray[Any, np.dtype[np.float32]]


def encode(rows: Array, kind: int, importance: _Importance | None = None) -> Array:
    """Encode rows (rows, columns) of float32 as `ggml.encode` does."""
    if kind not in _KINDS or (kind == _Q3_K and importance is None) or rows.shape[1] % _ROW or not rows.size:
        return ggml.encode(rows, kind, importance)
    if importance is not None and importance.shape != rows.shape[1:]:
        return ggml.encode(rows, kind, importance)  # which tells of that
    loop = _own_loop()
    if loop is None or not _agrees(kind, importance is not None):
        return ggml.encode(rows, kind, importance)
    return _encoded(loop, rows, kind, importance)


@cache
def _agrees(kind: int, weighed: bool) -> bool:
    """Whether a sample has ggml's bytes here."""
    loop = _own_loop()
    return loop is not None and is_right(loop, kind, weighed)


@cache
def _own_loop() -> _Loop | None:
    return find_loop(library_of("k_quants", Path(__file__).parent))


def find_loop(path: Path) -> _Loop | None:
    """The loop of a library, where it can be loaded."""
    if (library := loaded(path)) is None:
        return None
    loop = library.tagship_k_quants_encode
    loop.argtypes = (ctypes.c_int, *(ctypes.c_void_p,) * 4, *(ctypes.c_size_t,) * 2)
    loop.restype = None
    return loop


def is_right(loop: _Loop, kind: int, weighed: bool) -> bool:
    """Whether a loop has ggml's bytes of a sample: numbers of several sizes, outliers, zeros, and only one sign."""
    random = np.random.default_rng(0)
    sample = random.standard_normal((48, 2 * _ROW)).astype(np.float32)
    sample *= np.float32(10) ** random.integers(-6, 4, (48, 1)).astype(np.float32)
    sample[:8, ::37] *= 100
    sample[8:16] = np.abs(sample[8:16])
    sample[16:24, :128] = 0
    sample[24:28] = np.round(sample[24:28])
    importance = np.square(random.standard_normal(2 * _ROW)).astype(np.float32) if weighed else None
    if importance is not None:  # and what is far from all others, where nothing weighs
        sample[28:32] = -np.abs(sample[28:32])
        sample[28:32, ::32] *= 1000
        importance[::32] = 0
    return bool(np.array_equal(_encoded(loop, sample, kind, importance), ggml.encode(sample, kind, importance)))


def _encoded(loop: _Loop, rows: Array, kind: int, importance: _Importance | None) -> Array:
    """What the loop makes of rows, and ggml of those that it leaves to it."""
    rows = np.ascontiguousarray(rows, np.float32)
    number, in_line = rows.size // _ROW, rows.shape[1] // _ROW
    encoded = np.empty((number, ggml.row_size(kind, _ROW)), np.uint8)
    unusual = np.empty(number, np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    where = rows.ctypes.data, None if weights is None else weights.ctypes.data, encoded.ctypes.data, unusual.ctypes.data
    loop(kind, *where, number, in_line)
    left = np.flatnonzero(unusual)
    for place in np.unique(left % in_line):
        these = left[left % in_line == place]
        weighs = None if weights is None else weights[place * _ROW : (place + 1) * _ROW]
        encoded[these] = ggml.encode(rows.reshape(-1, _ROW)[these], kind, weighs).reshape(len(these), -1)
    return encoded.reshape(-1)
