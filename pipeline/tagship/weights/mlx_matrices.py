"""The matrices of a model in mlx-lm's layout, dequantized row by row as somebody needs them, and experts that it has
stacked, quantized or not."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.weights.affine import GROUP_SIZES, Affine
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.linear_tensors import WEIGHT
from tagship.weights.mlx_models import of_experts
from tagship.weights.scratch import Array

_BITS = (4, 8)


class AffineMatrix(Struct, frozen=True):
    """A matrix whose numbers are whole ones times a scale plus a bias (`Matrix`)."""

    affine: Affine
    shape: tuple[int, int]
    parts: tuple[str, ...]
    tensors: tuple[Array, ...]
    activations: int | None = None

    def rows(self, start: int, stop: int) -> Array:
        packed, scales, biases = (tensor[start:stop] for tensor in self.tensors)
        held = np.ascontiguousarray(packed).view(np.uint8)
        if self.affine.bits == 4:
            codes = np.empty((len(held), 2 * held.shape[1]), np.uint8)
            codes[:, ::2], codes[:, 1::2] = held & 15, held >> 4
            held = codes
        numbers = held.astype(np.float32).reshape(len(held), -1, self.affine.width)
        numbers *= scales.astype(np.float32)[:, :, None]
        numbers += biases.astype(np.float32)[:, :, None]
        return numbers.reshape(len(held), -1)


class PlainMatrix(Struct, frozen=True):
    """A matrix that is not quantized, one of a stack (`Matrix`)."""

    shape: tuple[int, int]
    parts: tuple[str, ...]
    numbers: Array
    activations: int | None = None

    def rows(self, start: int, stop: int) -> Array:
        return np.asarray(self.numbers[start:stop].astype(np.float32))


def is_mlx(checkpoint: Checkpoint, config: Mapping[str, Any]) -> bool:
    """Whether a model is in mlx-lm's layout, and that is not what transformers reads."""
    return isinstance(config.get("quantization"), dict) or any(map(of_experts, checkpoint.entries()))


def mlx_matrices(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, AffineMatrix | PlainMatrix]:
    """The matrices of a model that are quantized or stacked, by the names that their weights have where they are
    neither. Raises ReleaseError where parts of a matrix are missing, or it is quantized otherwise."""
    entries, said = checkpoint.entries(), config.get("quantization")
    found: dict[str, AffineMatrix | PlainMatrix] = {}
    for name in (name for name in entries if name.endswith(WEIGHT)):
        stacked = of_experts(name)
        if isinstance(said, dict) and f"{name.removesuffix(WEIGHT)}.scales" in entries:
            found |= _named(stacked or name, _quantized(checkpoint, name, said))
        elif stacked:
            numbers = _mapped(checkpoint, name)
            found |= _named(stacked, (PlainMatrix(each.shape, (name,), each) for each in numbers))
    return found


def _named(name: str, matrices: Iterable[Any]) -> dict[str, Any]:
    """By the name of each: what is not stacked is one, whose name has no place for a number."""
    return {name.format(number): matrix for number, matrix in enumerate(matrices)}


def _quantized(checkpoint: Checkpoint, name: str, said: Mapping[str, Any]) -> Iterator[AffineMatrix]:
    affine = _affine(said, name)
    parts = affine.parts(name, (0, 0), "")
    held = [_mapped(checkpoint, part.name) for part in parts]
    packed, scales, biases = held if held[0].ndim == 3 else [tensor[None] for tensor in held]
    shape = (packed.shape[1], packed.shape[2] * 32 // affine.bits)
    groups = (len(packed), shape[0], shape[1] // affine.width)
    if packed.dtype != np.uint32 or scales.shape != groups or biases.shape != groups:
        raise ReleaseError(f"{name} and its scales in {checkpoint.folder} do not fit {affine.described}")
    for number in range(len(packed)):
        tensors = (packed[number], scales[number], biases[number])
        yield AffineMatrix(affine, shape, tuple(part.name for part in parts), tensors)


def _affine(said: Mapping[str, Any], name: str) -> Affine:
    """How a matrix is quantized: as config.json says of its module, else of all."""
    own = said.get(name.removesuffix(WEIGHT))
    own = {**said, **own} if isinstance(own, dict) else said
    bits, width = own.get("bits"), own.get("group_size")
    if own.get("mode", "affine") != "affine" or bits not in _BITS or width not in GROUP_SIZES:
        raise ReleaseError(f"{name} is quantized in a way that is not read here: {dict(own)}")
    return Affine(bits=bits, width=width)


def _mapped(checkpoint: Checkpoint, name: str) -> Array:
    owner = checkpoint.owner(name)
    if owner is None:
        raise ReleaseError(f"{checkpoint.folder} has no {name}, which belongs to a quantized matrix")
    return owner.mapped(name)
