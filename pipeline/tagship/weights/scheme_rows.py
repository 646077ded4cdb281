"""Quantizes rows of a merged matrix by a scheme: to the nearest, as llm-compressor's `model_free_ptq` does, bit by bit.

Its arithmetic is that of torch in the dtype of the weights: what is divided is rounded to that before it is rounded to
8 or 4 bits. Sources: compressed-tensors 0.19, quantization/utils/helpers.py (calculate_qparams, generate_gparam) and
lifecycle/forward.py (_quantize); llm-compressor 0.14, observers/min_max.py.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from tagship.system.errors import ReleaseError
from tagship.weights.dtypes import DTYPES
from tagship.weights.merged_rows import quiet
from tagship.weights.scheme_loops import divided_to, magnitudes
from tagship.weights.schemes import FP4, FP8, INT4, Scheme
from tagship.weights.scratch import Array

_BF16, _FP8 = np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn)
# The largest number of each kind; of 4-bit integers it is between -8 and 7.
LARGEST = {FP8: 448.0, INT4: 7.5, FP4: 6.0}
# The largest of numbers in FP4 whose scales are in FP8, which is what scales of scales are made for.
_LARGEST_SCALED = 448.0 * 6.0
# What stands for a scale that would be zero, where scales are in FP8.
_LEAST_FP8 = 0.125


class SchemeRows:
    """Quantizes blocks of rows of one matrix, of this name, shape and dtype (safetensors' name).

    For schemes with a scale of scales, `maximum` is asked for the largest magnitude in it and in what is joined with
    it, when the first block comes.
    """

    def __init__(
        self,
        scheme: Scheme,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        maximum: Callable[[], float] | None = None,
    ) -> None:
        self._scheme = scheme
        self._name = name
        self._shape = shape
        self._dtype = DTYPES[dtype]
        self._width = scheme.width or shape[1]
        self._maximum = maximum

    @cached_property
    def _global(self) -> np.float32 | None:
        return _global_scale(self._maximum(), self._dtype) if self._maximum else None

    def quantized(self, rows: Array, start: int) -> Iterator[tuple[int, int, Array]]:
        """What becomes of rows [start, …), which begin and end with the scheme's blocks or the matrix: for each part by
        its number where it goes, as an offset in bytes, and the bytes.

        Raises ReleaseError where a number is not finite."""
        scheme = self._scheme
        with quiet():
            stored, used = self._scales(rows)
        packed = divided_to(scheme.kind, rows, used, self._width)
        yield 0, start * self._shape[1] * scheme.bits // 8, packed.reshape(-1)
        yield 1, start // scheme.height * stored.shape[1] * stored.itemsize, stored.reshape(-1).view(np.uint8)
        if start == 0 and scheme.kind == INT4:
            yield 2, 0, np.array(self._shape, np.int64).view(np.uint8)
        if start == 0 and self._global is not None:
            yield 2, 0, np.array([self._global], np.float32).view(np.uint8)

    def _scales(self, rows: Array) -> tuple[Array, Array]:
        """The scales of blocks as they are written, and in float32 what the numbers of each group are divided by."""
        largest = magnitudes(rows, self._width).reshape(len(rows), -1)
        if largest.size and not np.isfinite(largest.max()):
            raise ReleaseError(
                f"{self._name} holds NaN or infinity, which {self._scheme.name} has no room for",
                remedy="its training diverged, or its base is damaged: look at that tensor",
            )
        height = self._scheme.height
        if height > 1:
            starts = np.arange(0, len(largest), height)
            largest = np.maximum.reduceat(largest, starts, axis=0)
        if self._global is not None:
            return self._looked_up(largest) if self._dtype == _BF16 else self._scaled(largest)
        scales = (largest / np.float32(LARGEST[self._scheme.kind])).astype(self._dtype)
        scales[scales == 0] = _info(self._dtype).eps
        used = scales.astype(np.float32)
        if height > 1:
            used = np.repeat(used, height, axis=0)[: len(rows)]
        return scales, used

    def _scaled(self, largest: Array) -> tuple[Array, Array]:
        assert self._global is not None
        scales = (largest / np.float32(LARGEST[self._scheme.kind])).astype(self._dtype)
        times = self._global * scales.astype(np.float32)
        short = np.minimum(times, np.float32(LARGEST[FP8])).astype(_FP8)
        short[short == 0] = _LEAST_FP8
        return short, short.astype(np.float32) / self._global

    def _looked_up(self, largest: Array) -> tuple[Array, Array]:
        """The same, of what are at most 32 768 numbers: groups are so small that computing each takes longer than all
        the rest."""
        which = largest.view(np.uint32) >> 16
        stored, used = self._table
        return stored.take(which).view(_FP8), used.take(which)

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        with quiet():
            stored, used = self._scaled((np.arange(1 << 15, dtype=np.uint32) << 16).view(np.float32))
        return stored.view(np.uint8), used


def _global_scale(maximum: float, dtype: "np.dtype[Any]") -> np.float32:
    """What scales are multiplied by, so that they use all of FP8: in the dtype of the weights, which has it as 1 where
    it is too large."""
    with quiet():
        least = float(_info(dtype).tiny)
        inverse = (1 / np.float32(max(maximum, least))).astype(dtype).astype(np.float32)
        scale = (inverse * np.float32(_LARGEST_SCALED)).astype(dtype).astype(np.float32)
    return np.float32(scale if np.isfinite(scale) else 1)


def _info(dtype: "np.dtype[Any]") -> Any:
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
