"""Memory that is used again for each block of rows: a fresh array of that size would be mapped, zeroed
and given back by the kernel every time, which takes longer than the arithmetic on it."""

import math
import mmap
import threading
from contextlib import suppress
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# The size of the large pages that processors have, of which one entry of their address cache is enough for a buffer.
# A matrix product, which goes through many rows at once, takes up to twice as long on small ones.
_LARGE_PAGE = 2 << 20


class _Held(threading.local):
    """What a thread has: memory by its use, and the array that it was last."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}
        self.arrays: dict[str, Array] = {}


_held = _Held()


def scratch(use: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """An array of this thread for one use, with anything in it, valid until the next call for the same use."""
    array: Array | None = _held.arrays.get(use)
    if array is not None and array.shape == shape and array.dtype == dtype:
        return array  # as nearly always: all blocks of a tensor but the last are of one shape
    wanted = math.prod(shape) * dtype.itemsize
    buffer = _held.buffers.get(use)
    if buffer is None or buffer.nbytes < wanted:
        buffer = _held.buffers[use] = _memory(wanted)
    array = _held.arrays[use] = buffer[:wanted].view(dtype).reshape(shape)
    return array


def large_array(size: int) -> Array:
    """So many bytes with anything in them, in large pages where the system has them."""
    return _memory(size)[:size]


def _memory(size: int) -> Array:
    """At least so many bytes."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # not Linux
        return np.empty(size, np.uint8)
    size = -(-size // _LARGE_PAGE) * _LARGE_PAGE
    mapped = mmap.mmap(-1, size + _LARGE_PAGE)
    with suppress(OSError):  # a kernel that was built without large pages
        mapped.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(mapped, np.uint8)
    start = -buffer.ctypes.data % _LARGE_PAGE
    return buffer[start : start + size]
