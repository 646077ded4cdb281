"""Quantizes rows of a merged matrix as MLX does, bit by bit."""

from collections.abc import Iterator

import numpy as np

from tagship.system.errors import ReleaseError
from tagship.weights.affine import Affine
from tagship.weights.dtypes import DTYPES
from tagship.weights.merged_rows import quiet
from tagship.weights.scheme_loops import to_affine
from tagship.weights.scratch import Array


class AffineRows:
    """Quantizes blocks of rows of one matrix, of this name, shape and dtype (safetensors' name)."""

    def __init__(self, affine: Affine, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._affine = affine
        self._name = name
        self._columns = shape[1]
        self._dtype = DTYPES[dtype]

    def quantized(self, rows: Array, start: int) -> Iterator[tuple[int, int, Array]]:
        """What becomes of rows [start, …): for each part by its number where it goes, as an offset in bytes, and the
        bytes. Raises ReleaseError where a number is not finite, or numbers are too far from each other."""
        packed, *floats = to_affine(rows, self._affine.width, self._affine.bits)
        with quiet():
            scales, biases = (values.astype(self._dtype) for values in floats)
        if not (np.isfinite(scales).all() and scales.all()):
            raise ReleaseError(
                f"{self._name} holds NaN or infinity, or numbers near those, which {self._affine.name} has no room for",
                remedy="its training diverged, or its base is damaged: look at that tensor",
            )
        yield 0, start * self._columns * self._affine.bits // 8, packed
        first = start * (self._columns // self._affine.width) * self._dtype.itemsize
        yield 1, first, scales.view(np.uint8)
        yield 2, first, biases.view(np.uint8)
