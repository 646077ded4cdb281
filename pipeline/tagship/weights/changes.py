"""What an adapter does to the rows of one tensor, block by block.

A tensor is seen as rows: what one index of all its dimensions but the last selects. Each change is prepared
once for its tensor (the adapter's own tensors are small), and then applied to blocks of rows in
float32, or float64 where the base is. Formulas: PEFT, tuners/lora/layer.py and variants.py.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from msgspec import Struct

from tagship.weights.portable import ExactProduct, squares_of_rows
from tagship.weights.safetensors import TensorEntry
from tagship.weights.scratch import Array, scratch

# Changes rows [start, stop) of a tensor, in place.
Apply = Callable[[Array, int, int], None]
# The blocks of a tensor as they are before a change: rows, and where they begin and end.
Blocks = Callable[[], Iterator[tuple[Array, int, int]]]


class Read(Protocol):
    """Reads a tensor of the adapter in the dtype of the work; raises ReleaseError when it is not finite.

    One that is `kept` is needed again for another tensor of the model soon.
    """

    def __call__(self, entry: TensorEntry, *, kept: bool = False) -> Array: ...


class Change(Protocol):
    """One change of a tensor; `shape` is what the tensor must have, None for an axis that may be any;
    `tensors` are the adapter's that it is made of."""

    @property
    def shape(self) -> tuple[int | None, ...]: ...

    @property
    def tensors(self) -> tuple[TensorEntry, ...]: ...

    def ready(self, read: Read, before: Blocks) -> Apply:
        """Prepare to change a tensor; `before` walks over its rows as the changes before this one
        leave them."""


def adding_product(left: Array, right: Array, *, portable: bool) -> Apply:
    """What does `rows += left[start:stop] @ right`; if it is `portable`, with the same bytes on every processor."""
    if portable:
        return ExactProduct(left, right).add_to

    def add(rows: Array, start: int, stop: int) -> None:
        product = scratch("product", rows.shape, rows.dtype)
        np.matmul(left[start:stop], right, out=product)
        rows += product

    return add


class LowRank(Struct, frozen=True, kw_only=True):
    """`W += scale * B @ A`, where A is (rank, in) and B is (out, rank).

    The tensor is (out, in); or (in, out) where it is `transposed`, as a Conv1D's is, and an
    `embedding`'s, whose rows are tokens.
    """

    a: TensorEntry
    b: TensorEntry
    scale: float
    transposed: bool
    embedding: bool = False
    portable: bool = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return (self.a, self.b)

    def ready(self, read: Read, before: Blocks) -> Apply:
        return adding_product(*self.factors(read), portable=self.portable)

    def factors(self, read: Read) -> tuple[Array, Array]:
        """The two matrices, (rows, rank) and (rank, columns), whose product is added to the tensor."""
        a, b = read(self.a), read(self.b)
        b = b * b.dtype.type(self.scale)
        return (a.T, b.T) if self.transposed else (b, a)


class Magnitude(Struct, frozen=True, kw_only=True):
    """DoRA: each output's weights get the trained magnitude as their norm.

    An output is a row, or a column where the tensor is `transposed`; columns' norms take a walk
    over the whole tensor before the first block is changed.
    """

    magnitude: TensorEntry
    transposed: bool
    portable: bool = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        outputs = self.magnitude.elements  # also of shape (1, outputs), as older ones are
        return (None, outputs) if self.transposed else (outputs, None)

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return (self.magnitude,)

    def ready(self, read: Read, before: Blocks) -> Apply:
        magnitude = read(self.magnitude).reshape(-1)
        if not self.transposed:

            def scale_rows(rows: Array, start: int, stop: int) -> None:
                rows *= (magnitude[start:stop] / self._norms(rows))[:, None]

            return scale_rows
        squares = np.zeros(len(magnitude), np.float64)
        for rows, _, _ in before():
            squares += squares_of_rows(rows.T) if self.portable else np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
        factors = (magnitude / np.sqrt(squares)).astype(magnitude.dtype)

        def scale_columns(rows: Array, start: int, stop: int) -> None:
            rows *= factors

        return scale_columns

    def _norms(self, rows: Array) -> Array:
        if self.portable:
            return np.sqrt(squares_of_rows(rows)).astype(rows.dtype)
        return np.asarray(np.linalg.norm(rows, axis=1))


class TokenRows(Struct, frozen=True, kw_only=True):
    """Some rows of an embedding are replaced by trained ones."""

    rows: TensorEntry
    indices: tuple[int, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (None, *self.rows.shape[1:])

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return (self.rows,)

    def ready(self, read: Read, before: Blocks) -> Apply:
        trained = read(self.rows)

        def apply(rows: Array, start: int, stop: int) -> None:
            for number, index in enumerate(self.indices):
                if start <= index < stop:
                    rows[index - start] = trained[number]

        return apply


class Added(Struct, frozen=True, kw_only=True):
    """`W += scale * X`: the trained bias of a LoRA's B."""

    values: TensorEntry
    scale: float

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.values.shape

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return (self.values,)

    def ready(self, read: Read, before: Blocks) -> Apply:
        values = read(self.values)
        values = values * values.dtype.type(self.scale)

        def apply(rows: Array, start: int, stop: int) -> None:
            rows += values[start:stop]

        return apply
