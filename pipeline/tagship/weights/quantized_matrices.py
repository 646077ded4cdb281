"""The matrices of a model that is quantized, dequantized row by row as somebody needs them.

A layout is a function that finds them in an open checkpoint by what config.json says; `find_matrices` knows those that
tagship writes.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.dtypes import DTYPES
from tagship.weights.linear_tensors import WEIGHT
from tagship.weights.mlx_matrices import is_mlx, mlx_matrices
from tagship.weights.schemes import FP4, FP8, INT4, SCHEMES, Scheme
from tagship.weights.scratch import Array

_CONFIG = "config.json"
# What the eight magnitudes of FP4 are, and their negatives.
_FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


class Matrix(Protocol):
    """A matrix in a file that holds it quantized. `parts` are the names of the tensors that it is made of;
    `activations` is how what it is multiplied by is rounded (`Scheme`)."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def parts(self) -> tuple[str, ...]: ...

    @property
    def activations(self) -> int | None: ...

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop) in float32: each number times its scale, not rounded again."""


def find_matrices(checkpoint: Checkpoint) -> dict[str, Matrix]:
    """The quantized matrices of a model by the names that their weights have where they are not quantized; none for a
    model that is not quantized, or in another layout. Raises ReleaseError where parts of a matrix are missing."""
    path = checkpoint.folder / _CONFIG
    config = read_object(path) if path.is_file() else {}
    if is_mlx(checkpoint, config):
        return dict(mlx_matrices(checkpoint, config))
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        return {}
    layout = _LAYOUTS.get(str(said.get("quant_method")))
    return layout(checkpoint, said) if layout else {}


class _Packed(Struct, frozen=True):
    """A matrix as compressed-tensors lays it out."""

    scheme: Scheme
    shape: tuple[int, int]
    tensors: Mapping[str, Array]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    @property
    def activations(self) -> int | None:
        return self.scheme.activations

    def rows(self, start: int, stop: int) -> Array:
        scheme = self.scheme
        packed, scales, *more = self.tensors.values()
        numbers = _NUMBERS[scheme.kind](packed[start:stop])
        height = scheme.height
        held = scales[start // height : -(-stop // height)].astype(np.float32)
        if scheme.shared:
            held /= more[0].astype(np.float32)
        held = np.repeat(held, height, axis=0)[start % height :][: stop - start] if height > 1 else held
        times = held if held.shape[1] == 1 else np.repeat(held, scheme.width or self.shape[1], axis=1)
        numbers *= times
        return numbers


def _of_compressed_tensors(checkpoint: Checkpoint, said: Mapping[str, Any]) -> dict[str, Matrix]:
    scheme = _scheme_of(said)
    if scheme is None:
        return {}
    entries = checkpoint.entries()
    files = {name: shard for shard in checkpoint.shards for name in shard.tensors}
    found: dict[str, Matrix] = {}
    for scale in (name for name in entries if name.endswith(f"{WEIGHT}_scale")):
        name = scale.removesuffix("_scale")
        first = entries.get(name if scheme.kind == FP8 else f"{name}_packed")
        if first is None:
            raise ReleaseError(f"{files[scale].path} has {scale}, and not what it is the scale of")
        shape = (first.shape[0], first.shape[1] * 8 * DTYPES[first.dtype].itemsize // scheme.bits)
        tensors = {}
        for part in scheme.parts(name, shape, entries[scale].dtype):
            entry = entries.get(part.name)
            if entry is None or (entry.dtype, entry.shape) != (part.dtype, part.shape):
                raise ReleaseError(f"{files[scale].path} has no {part.name} of {part.dtype} {list(part.shape)}")
            tensors[part.name] = files[part.name].mapped(part.name)
        found[name] = _Packed(scheme, shape, tensors)
    return found


def _scheme_of(said: Mapping[str, Any]) -> Scheme | None:
    """The scheme that a configuration describes, whatever it calls it."""
    groups = said.get("config_groups")
    described = list(groups.values()) if isinstance(groups, dict) else []
    for scheme in SCHEMES.values():
        (known,) = scheme.quantization_config(())["config_groups"].values()
        if described == [known]:
            return scheme
    return None


_LAYOUTS: Mapping[str, Callable[[Checkpoint, Mapping[str, Any]], dict[str, Matrix]]] = {
    "compressed-tensors": _of_compressed_tensors
}


def _from_fp8(codes: Array) -> Array:
    return np.asarray(_fp8_numbers().take(codes.view(np.uint8)))


def _from_int4(packed: Array) -> Array:
    return _halves(packed).astype(np.float32) - 8


def _from_fp4(packed: Array) -> Array:
    return np.asarray(_FP4.take(_halves(packed)))


def _halves(packed: Array) -> Array:
    """Numbers of 4 bits, the lower half of each byte first."""
    held = np.ascontiguousarray(packed).view(np.uint8)
    codes = np.empty((len(held), 2 * held.shape[1]), np.uint8)
    codes[:, ::2], codes[:, 1::2] = held & 15, held >> 4
    return codes


@cache
def _fp8_numbers() -> Array:
    return np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)


_NUMBERS: Mapping[str, Callable[[Array], Array]] = {FP8: _from_fp8, INT4: _from_int4, FP4: _from_fp4}
