"""What each tensor of a model loses in each type: the rows that are not needed to know it are left out.

The error of a tensor is the sum of a_j (w_ij - q_ij)^2 as a share of the sum of a_j w_ij^2, where a_j is the mean
square of what column j is multiplied with: an importance matrix.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct

from tagship.gguf import k_quants
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.llama_cpp import import_converter
from tagship.gguf.quant_mix import WEIGHED
from tagship.gguf.types import TENSOR_TYPES
from tagship.gguf.unquantized import Matrix, Unquantized
from tagship.system.pool import in_order
from tagship.system.progress import Advance
from tagship.weights.scratch import Array

# The types that a tensor may get, those of fewer bits first: blocks of 256, and of 32 for rows that are no multiple.
_OF_256 = ("IQ2_XXS", "IQ2_S", "Q2_K", "IQ3_XXS", "Q3_K", "IQ3_S", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
_OF_32 = ("IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_KINDS = {known.name: (kind, known) for kind, known in TENSOR_TYPES.items()}
# Of each matrix one row in so many is encoded, some rows beside each other, and no fewer than these.
_ONE_IN, _BESIDE, _LEAST_ROWS = 16, 4, 64
# Numbers that are encoded a second and core, of all types that a matrix may get together.
SPEED = 0.6e6


class Coded(Struct, frozen=True, kw_only=True):
    """A tensor in a type: the bytes that it takes, and what it loses as a share of what it is."""

    type: str
    size: int
    loss: float


def types_for(columns: int, *, weighed: bool) -> tuple[str, ...]:
    """The types that a tensor with rows of so many numbers may get; some only where it is `weighed` by an importance
    matrix. None where rows fit no type's blocks."""
    fitting = [kind for kind in _OF_256 if columns % 256 == 0] or [kind for kind in _OF_32 if columns % 32 == 0]
    return tuple(kind for kind in fitting if weighed or kind not in WEIGHED)


def encoded_size(matrix: Matrix, kind: str) -> int:
    """The bytes of a tensor in a type."""
    known = _KINDS[kind][1]
    return matrix.elements // known.block * known.nbytes


def bits_of_type(kind: str) -> float:
    """The bits of a number in a type, with its share of its block's scales."""
    known = _KINDS[kind][1]
    return 8 * known.nbytes / known.block


def lossy(rows: Array, kind: str, importance: Array | None) -> Array:
    """Rows as they come out of a type, weighed by the importance of their columns."""
    import_converter()
    from gguf import GGMLQuantizationType, quants

    encoded = k_quants.encode(rows, _KINDS[kind][0], importance)
    decoded: Array = quants.dequantize(encoded.reshape(len(rows), -1), GGMLQuantizationType[kind])
    return decoded


def measure_errors(model: Unquantized, imatrix: Imatrix, advance: Advance) -> dict[str, tuple[Coded, ...]]:
    """The types that each tensor may get, with what it loses in them, by its name in the order of the file; tensors
    whose rows fit no type are left out. `advance` counts the bytes of the file's matrices. Raises ReleaseError for an
    importance matrix of another model."""
    imatrix.check({name: matrix.shape for name, matrix in model.matrices.items()})

    def measured(matrix: Matrix) -> tuple[Coded, ...]:
        found = _losses(model, matrix, imatrix.of(matrix.name, matrix.shape))
        advance(matrix.nbytes)
        return found

    tables = zip(model.matrices, in_order(measured, model.matrices.values()), strict=True)
    return {name: table for name, table in tables if table}


def _losses(model: Unquantized, matrix: Matrix, importance: Array | None) -> tuple[Coded, ...]:
    kinds = types_for(matrix.columns, weighed=importance is not None)
    lost = dict.fromkeys(kinds, 0.0)
    whole = 0.0
    for number in range(matrix.matrices):
        columns = None if importance is None else importance[number]
        weighs = np.ones(matrix.columns, np.float32) if columns is None else columns
        for rows in _sampled(model, matrix, number):
            whole += _weighed(rows, weighs)
            for kind in kinds:
                lost[kind] += _weighed(rows - lossy(rows, kind, columns), weighs)
    # What is all zeros, or never multiplied with anything, loses nothing.
    return tuple(
        Coded(type=kind, size=encoded_size(matrix, kind), loss=lost[kind] / whole if whole else 0.0) for kind in kinds
    )


def _weighed(rows: Array, weighs: Array) -> float:
    return float(np.square(rows, dtype=np.float64).sum(axis=0) @ weighs.astype(np.float64))


def _sampled(model: Unquantized, matrix: Matrix, number: int) -> Iterator[Array]:
    """Rows that stand for all, in blocks that fit a core's memory."""
    step = max(1, min(_ONE_IN, matrix.rows // _LEAST_ROWS))
    chosen = [row for row in range(matrix.rows) if row // _BESIDE % step == 0]
    most = max(1, (1 << 20) // matrix.columns)
    for start in range(0, len(chosen), most):
        yield model.rows(matrix, number, chosen[start : start + most])


def size_of(table: Mapping[str, Sequence[Coded]], types: Mapping[str, str]) -> int:
    """The bytes of all tensors of a table in these types."""
    return sum(coded(table[name], kind).size for name, kind in types.items())


def coded(rows: Sequence[Coded], kind: str) -> Coded:
    """Of a tensor's rows that of a type."""
    return next(each for each in rows if each.type == kind)
