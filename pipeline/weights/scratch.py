"""Memory that is used again for each block of rows: a fresh array of that size would be mapped, zeroed
and given back by the kernel every time, which takes longer than the arithmetic on it."""

import math
import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_held = threading.local()


def scratch(use: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """An array of this thread for one use, with anything in it, valid until the next call for the same use."""
    wanted = math.prod(shape) * dtype.itemsize
    buffer = getattr(_held, use, None)
    if buffer is None or buffer.nbytes < wanted:
        buffer = np.empty(wanted, np.uint8)
        setattr(_held, use, buffer)
    return buffer[:wanted].view(dtype).reshape(shape)
