"""ggml's own encoder of quantized rows, called in the shared object that xllamacpp brings.

The bytes are what `llama-quantize` writes, as it calls the same function.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np

from tagship.system.errors import ReleaseError
from tagship.system.llama_library import llama_library


@cache
def _library() -> ctypes.CDLL:
    library = llama_library()
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_blck_size.argtypes = [ctypes.c_int]
    return library


def row_size(ggml_type: int, columns: int) -> int:
    """The bytes of one encoded row. Raises ReleaseError when the type's blocks do not fill it.

    ggml itself takes any row, and then writes less than it says or ends the process.
    """
    block = _library().ggml_blck_size(ggml_type)
    if columns < 1 or columns % block:
        raise ReleaseError(f"ggml's type {ggml_type} takes rows of {block} numbers or a multiple, not {columns}")
    return int(_library().ggml_row_size(ggml_type, columns))


def encode(
    values: np.ndarray[Any, np.dtype[np.float32]],
    ggml_type: int,
    importance: np.ndarray[Any, np.dtype[np.float32]] | None = None,
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Encode rows (rows, columns) of float32 into the bytes of a type; `importance` (columns) weighs their errors.

    Raises ReleaseError as `row_size`, and when ggml writes another number of bytes than the type takes.
    """
    rows, columns = values.shape
    part = np.ascontiguousarray(values, dtype=np.float32)
    encoded = np.empty(rows * row_size(ggml_type, columns), np.uint8)
    weights = None
    if importance is not None:
        importance = np.ascontiguousarray(importance, dtype=np.float32)
        if importance.shape != (columns,):
            raise ReleaseError(f"{importance.shape} numbers tell the importance of {columns} columns")
        weights = importance.ctypes.data
    written = _library().ggml_quantize_chunk(
        ggml_type, part.ctypes.data, encoded.ctypes.data, 0, rows, columns, weights
    )
    if written != encoded.nbytes:
        raise ReleaseError(f"ggml encoded {written} bytes where type {ggml_type} takes {encoded.nbytes}")
    return encoded
