"""What loops in C that multiply float32 with bfloat16 have in common: they work on all cores, and show what they make
of samples before they are used."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import ml_dtypes
import numpy as np

from tagship.system.pool import cores
from tagship.weights.scratch import Array


class ProductLoops(ABC):
    """Products by the loops of a library. `most_tokens` are multiplied at once: arranged as they are needed, those of
    the widest layers take some 30 MB."""

    most_tokens: ClassVar[int]

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="products")

    def multiply(self, values: Array, weights: Array) -> Array:
        """`values @ weights.T`, float32 of shape (tokens, rows): of float32 values, shape (tokens, width), and the bits
        of bfloat16 weights, uint16 of shape (rows, width). Both are contiguous, and the width is even."""
        made = np.empty((len(values), len(weights)), np.float32)
        most = self.most_tokens
        for start in range(0, len(values), most):
            self._into(made[start : start + most], values[start : start + most], weights)
        return made

    @abstractmethod
    def _into(self, made: Array, values: Array, weights: Array) -> None:
        """As `multiply`, of some tokens."""

    def _on_all_cores(self, loop: Callable[[int, int], None], count: int, step: int, most: int | None = None) -> None:
        """Have parts of so many done, each but the last a multiple of `step`: one for each core, or as many as have
        `most` at most."""
        each = -(-count // (cores() * step)) * step
        each = min(each, most or each)
        starts = range(0, count, each)
        list(self._pool.map(loop, starts, (min(start + each, count) for start in starts)))


def are_right(loops: ProductLoops) -> bool:
    """Whether samples with edges on all sides come out without an error: sums that float32 has room for, and numbers
    that need all of their bits, each times a power of two."""
    drawn = np.random.default_rng(0)
    tokens, width, rows = 125, 1062, 519  # more than any loop takes at once, and some
    numbers = drawn.integers(-4096, 4097, (tokens, width)).astype(np.float32)
    small = drawn.integers(-3, 4, (rows, width)).astype(ml_dtypes.bfloat16)
    whole = drawn.standard_normal((tokens, width), np.float32)
    one = np.zeros((rows, width), ml_dtypes.bfloat16)
    one[np.arange(rows), drawn.integers(0, width, rows)] = np.ldexp(1, drawn.integers(-9, 9, rows))
    for left, right in ((numbers, small), (whole, one)):
        made = np.full((tokens, rows), np.nan, np.float32)  # memory that was used before may hold what is right
        loops._into(made, left, right.view(np.uint16))
        if not np.array_equal(made, left.astype(np.float64) @ right.astype(np.float64).T):
            return False
    return True
