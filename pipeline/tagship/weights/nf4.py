"""NF4, the 4 bits in which QLoRA holds a base: what bitsandbytes makes of a weight and computes with, number by number.

A weight is cut into blocks of 64 numbers along its flattened rows; each block is divided by its largest magnitude
(absmax), and each number becomes the nearest of 16 values. With double quantization the absmax of 256 blocks share one
of their own, after their mean was taken off, and become 8 bits. Sources: bitsandbytes 0.50, functional.py and
backends/default/ops.py; QLoRA, https://arxiv.org/abs/2305.14314.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.weights.changes import Apply, Blocks, Read
from tagship.weights.dtypes import DTYPES
from tagship.weights.nf4_blocks import BLOCK, maxima_of, round_blocks
from tagship.weights.safetensors import TensorEntry
from tagship.weights.scratch import Array, scratch

# Blocks whose absmax are quantized together.
_TOGETHER = 256


class ToNf4(Struct, frozen=True, kw_only=True):
    """A change of a matrix: to what it is after it was quantized to NF4, and dequantized in `dtype`, safetensors' name,
    to compute with it. `double` is whether the absmax are quantized, too. What an adapter adds comes after it."""

    size: tuple[int, int]
    dtype: str
    double: bool

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.size

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return ()

    def ready(self, read: Read, before: Blocks) -> Apply:
        return self.prepared(rows for rows, _, _ in before())

    def prepared(self, before: Iterable[Array]) -> Apply:
        """As `ready`, by the rows of the whole tensor, in blocks. They are read where that is needed: for double
        quantization, and where a block begins in one row and ends in another."""
        height, width = self.size
        if not self.double and not width % BLOCK:
            return self._by_themselves
        maxima = _maxima(before, height * width)
        scales = _double_quantized(maxima) if self.double else maxima

        def apply(rows: Array, start: int, stop: int) -> None:
            first, lead = divmod(start * width, BLOCK)
            blocks = _blocks(rows, lead)
            last = first + len(blocks)
            round_blocks(blocks, maxima[first:last], scales[first:last])
            rows[:] = blocks.reshape(-1)[lead : lead + rows.size].reshape(rows.shape)
            _round_to(rows, self.dtype)

        return apply

    def _by_themselves(self, rows: Array, start: int, stop: int) -> None:
        blocks = _blocks(rows, 0)
        maxima = maxima_of(blocks)
        round_blocks(blocks, maxima, maxima)
        rows[:] = blocks.reshape(rows.shape)
        _round_to(rows, self.dtype)


def _blocks(rows: Array, lead: int) -> Array:
    """Rows as blocks of float32, whose first one has so many numbers before them; a copy where they do not begin and
    end with one."""
    number = -(-(lead + rows.size) // BLOCK)
    if rows.dtype == np.float32 and not lead and number * BLOCK == rows.size:
        return rows.reshape(number, BLOCK)
    blocks = scratch("nf4", (number, BLOCK), np.dtype(np.float32))
    flat = blocks.reshape(-1)
    flat[:lead] = flat[lead + rows.size :] = 0
    flat[lead : lead + rows.size] = rows.reshape(-1)
    return blocks


def _round_to(rows: Array, dtype: str) -> None:
    if DTYPES[dtype].itemsize < 4:
        short = scratch("nf4_short", rows.shape, DTYPES[dtype])
        np.copyto(short, rows, casting="unsafe")
        np.copyto(rows, short, casting="unsafe")


def _maxima(parts: Iterable[Array], size: int) -> Array:
    """The largest magnitude in each block of so many numbers, which come in parts that may end within one."""
    maxima = np.zeros(-(-size // BLOCK), np.float32)
    done = 0
    for rows in parts:
        first, lead = divmod(done, BLOCK)
        found = maxima_of(_blocks(rows, lead))
        there = maxima[first : first + len(found)]
        np.maximum(there, found, out=there)
        done += rows.size
    return maxima


def _double_quantized(maxima: Array) -> Array:
    """What absmax are after they were quantized to 8 bits themselves, and dequantized."""
    code = _dynamic_code()
    offset = np.float32(maxima.mean(dtype=np.float64))
    around = np.zeros((-(-len(maxima) // _TOGETHER), _TOGETHER), np.float32)
    around.reshape(-1)[: len(maxima)] = maxima - offset
    largest = np.abs(around).max(axis=1)[:, None]
    scaled = around * (1 / np.maximum(largest, np.float32(1e-38)))
    codes = np.searchsorted((code[:-1] + code[1:]) / 2, scaled.reshape(-1)).reshape(around.shape)
    scales: Array = (code[codes] * largest + offset).reshape(-1)[: len(maxima)]
    return scales


@cache
def _dynamic_code() -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The 256 values of bitsandbytes' dynamic 8 bits (functional.py, create_dynamic_map): a sign, and seven orders of
    magnitude, of which each has twice as many values as the one below it."""
    values = [0.0, 1.0]
    for order in range(7):
        number = 2**order
        edges = _evenly_spaced(number + 1)
        means = (edges[:-1] + edges[1:]) / np.float32(2)
        scaled = np.float32(10.0 ** (order - 6)) * means
        values += [*scaled.tolist(), *(-scaled).tolist()]
    return np.array(sorted(values), np.float32)


def _evenly_spaced(number: int) -> Array:
    """From 0.1 to 1, as torch.linspace has it: the first half from below, the second one from above."""
    low, high = np.float32(0.1), np.float32(1)
    step = float((high - low) / np.float32(number - 1))
    index = np.arange(number)
    below, above = float(low) + step * index, 1 - step * index[::-1]
    return np.asarray(np.where(index < number // 2, below, above), np.float32)
