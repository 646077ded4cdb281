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

_held = threading.local()


def scratch(use: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """An array of this thread for one use, with anything in it, valid until the next call for the same use."""
    wanted = math.prod(shape) * dtype.itemsize
    buffer = getattr(_held, use, None)
    if buffer is None or buffer.nbytes < wanted:
        buffer = _memory(wanted)
        setattr(_held, use, buffer)
    return buffer[:wanted].view(dtype).reshape(shape)


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
