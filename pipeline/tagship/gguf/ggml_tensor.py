"""ggml's tensors in memory, as the graph that llama.cpp computes hands them out.

A structure tells no version. It is laid out as in ggml.h at b11434, and proven before it is used: tensors that ggml
itself makes must be found in it with the shapes, names and sources that were asked for.
"""

import ctypes
from ctypes import c_bool, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any

import numpy as np

from tagship.system.errors import ToolError
from tagship.system.installation import how_to_install
from tagship.system.llama_library import llama_library

# ggml's numbers of the types that are read here.
_F32, _I32 = 0, 26
_DTYPES = {_F32: np.dtype(np.float32), _I32: np.dtype(np.int32)}
_PROBE_MEMORY = 1 << 16


class GgmlTensor(ctypes.Structure):
    """`struct ggml_tensor`: shape and strides have the columns first."""

    _fields_ = (
        ("type", c_int),
        ("buffer", c_void_p),
        ("ne", c_int64 * 4),
        ("nb", c_size_t * 4),
        ("op", c_int),
        ("op_params", c_int32 * 16),
        ("flags", c_int32),
        ("src", c_void_p * 10),
        ("view_src", c_void_p),
        ("view_offs", c_size_t),
        ("data", c_void_p),
        ("name", c_char * 64),
        ("extra", c_void_p),
    )

    @property
    def is_float(self) -> bool:
        """Whether its numbers are float32."""
        return bool(self.type == _F32)

    def source(self, index: int) -> "GgmlTensor":
        """What it is computed of."""
        return GgmlTensor.from_address(self.src[index])

    def text(self) -> str:
        """Its name, without what a scheduler puts around it for a copy (`CPU#blk.0.attn_k.weight#0`)."""
        name = self.name.decode(errors="replace")
        return name.split("#")[1] if "#" in name else name

    def values(self) -> "np.ndarray[Any, Any]":
        """Its numbers where they lie, float32 or int32, with the columns last. Raises ToolError where they are of
        another type, or in the memory of another device."""
        dtype = _DTYPES.get(self.type)
        if dtype is None or not self.data or not ggml_functions().ggml_backend_buffer_is_host(self.buffer):
            raise ToolError(f"what llama.cpp computes for {self.text()} is not there to be read")
        size = sum((count - 1) * stride for count, stride in zip(self.ne, self.nb, strict=True)) + dtype.itemsize
        memory = (c_char * size).from_address(self.data)
        return np.ndarray(self.ne[::-1], dtype, buffer=memory, strides=self.nb[::-1])


class _Memory(ctypes.Structure):
    _fields_ = (("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool))


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (c_void_p, [_Memory]),
    "ggml_free": (None, [c_void_p]),
    "ggml_new_tensor_2d": (c_void_p, [c_void_p, c_int, c_int64, c_int64]),
    "ggml_set_name": (c_void_p, [c_void_p, c_char_p]),
    "ggml_mul_mat": (c_void_p, [c_void_p, c_void_p, c_void_p]),
    "ggml_op_name": (c_char_p, [c_int]),
    "ggml_get_data": (c_void_p, [c_void_p]),
    "ggml_backend_buffer_is_host": (c_bool, [c_void_p]),
}


@cache
def ggml_functions() -> ctypes.CDLL:
    """The library with these functions declared. Raises ReleaseError when it is not installed, ToolError where its
    tensors are laid out otherwise."""
    library = llama_library()
    try:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise _unknown(str(error)) from None
    _prove(library)
    return library


def _prove(library: ctypes.CDLL) -> None:
    context = library.ggml_init(_Memory(size=_PROBE_MEMORY, buffer=None, no_alloc=False))
    try:
        left = library.ggml_new_tensor_2d(context, _F32, 64, 3)
        right = library.ggml_new_tensor_2d(context, _F32, 64, 5)
        library.ggml_set_name(left, b"blk.0.left.weight")
        made = GgmlTensor.from_address(library.ggml_mul_mat(context, left, right))
        first = GgmlTensor.from_address(left)
        found = (first.type, tuple(first.ne), tuple(first.nb), first.name, first.data)
        wanted = (_F32, (64, 3, 1, 1), (4, 256, 768, 768), b"blk.0.left.weight", library.ggml_get_data(left))
        product = (made.src[0], made.src[1], tuple(made.ne), library.ggml_op_name(made.op))
        if found != wanted or product != (left, right, (3, 5, 1, 1), b"MUL_MAT"):
            raise _unknown("it has another ggml_tensor than expected")
    finally:
        library.ggml_free(context)


def _unknown(how: str) -> ToolError:
    return ToolError(f"the installed xllamacpp is another than tagship knows: {how}", remedy=how_to_install("gguf"))
