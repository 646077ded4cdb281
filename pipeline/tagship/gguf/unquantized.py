"""The matrices of an unquantized GGUF, one at a time: their rows, and what a model computes with others in their place.

The file is mapped, so that a model may be larger than memory; llama.cpp maps it, too, and computes with what is there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from msgspec import Struct

from tagship.gguf.header import GgufHeader, read_gguf_header
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.system.errors import ReleaseError
from tagship.weights.scratch import Array

_DTYPES: Mapping[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


class Matrix(Struct, frozen=True, kw_only=True):
    """A tensor that may be quantized: `matrices` of `rows` by `columns` (several for the experts of a layer), `start`
    bytes into the file, in `dtype`."""

    name: str
    matrices: int
    rows: int
    columns: int
    start: int
    dtype: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """As the file has it, outermost first."""
        return (*((self.matrices,) if self.matrices > 1 else ()), self.rows, self.columns)

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return self.matrices * self.rows * self.columns

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return int(self.elements * np.dtype(self.dtype).itemsize)


class Unquantized:
    """A GGUF in one file, with tensors of 16 or 32 bits. Raises ReleaseError where a matrix has another type."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_gguf_header(path)
        self.matrices: dict[str, Matrix] = {matrix.name: matrix for matrix in _matrices(header, path)}

    def rows(self, matrix: Matrix, number: int, chosen: Sequence[int] | slice = slice(None)) -> Array:
        """Rows of one of a tensor's matrices, by their numbers, in float32."""
        data = np.memmap(
            self.path,
            dtype=np.dtype(matrix.dtype),
            mode="r",
            offset=matrix.start,
            shape=(matrix.matrices, matrix.rows, matrix.columns),
        )
        return np.ascontiguousarray(data[number, chosen], np.float32)

    @contextmanager
    def replaced(self, blocks: Iterable[tuple[Matrix, int, int, Array]]) -> Iterator[None]:
        """Within the block the file has other numbers: each (matrix, which of its matrices, first row, rows). What was
        there is kept in a file beside, and put back."""
        kept = self.path.with_name(f"{self.path.name}.kept")
        places: list[tuple[int, int]] = []
        try:
            with kept.open("wb") as aside, self.path.open("r+b") as file:
                for matrix, number, first, rows in blocks:
                    size = np.dtype(matrix.dtype).itemsize * matrix.columns
                    start = matrix.start + (number * matrix.rows + first) * size
                    file.seek(start)
                    aside.write(file.read(len(rows) * size))
                    places.append((start, len(rows) * size))
                    file.seek(start)
                    file.write(rows.astype(matrix.dtype).tobytes())
            yield
        finally:
            with kept.open("rb") as aside, self.path.open("r+b") as file:
                for start, length in places:
                    file.seek(start)
                    file.write(aside.read(length))
            kept.unlink()


def _matrices(header: GgufHeader, path: Path) -> Iterator[Matrix]:
    for tensor in header.tensors:
        shape = tensor.shape[::-1]
        if not may_be_quantized(tensor.name, shape):
            continue
        if tensor.type_name not in _DTYPES:
            raise ReleaseError(f"{path.name} has {tensor.name} in {tensor.type_name}: it is quantized already")
        yield Matrix(
            name=tensor.name,
            matrices=int(np.prod(shape[:-2])),
            rows=shape[-2],
            columns=shape[-1],
            start=header.data_start + tensor.offset,
            dtype=_DTYPES[tensor.type_name],
        )
