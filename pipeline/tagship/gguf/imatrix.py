"""An importance matrix: how much each column of a tensor matters, as llama.cpp's `llama-imatrix` measures it.

Both of its formats are read, GGUF and the older one, as llama.cpp's common/imatrix-loader.cpp and
tools/quantize/quantize.cpp do (revision of `gguf/quant_mix.py`); GGUF is written.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from msgspec import Struct

from tagship.gguf.activations import Sums
from tagship.gguf.llama_cpp import import_converter
from tagship.system.errors import ReleaseError
from tagship.weights.scratch import Array

_SUMS, _PLAIN_SUMS, _COUNTS = ".in_sum2", ".in_sum", ".counts"
_MAGIC = b"GGUF"


class Imatrix(Struct, frozen=True, kw_only=True):
    """`values` are the importance of columns by the GGUF tensor's name, expert after expert where it has several;
    `name` is the file's, `dataset` what it was measured on, `chunks` in how many pieces (0: not known)."""

    name: str
    values: Mapping[str, Array]
    dataset: str | None
    chunks: int

    def of(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """The importance (experts, columns) for a tensor of shape (…, rows, columns); None where the file has none.

        Raises ReleaseError where it has another size.
        """
        values = self.values.get(name)
        experts, columns = (shape[0] if len(shape) > 2 else 1), shape[-1]
        if values is None or (values.size != experts * columns and name == "token_embd.weight"):
            return None  # llama.cpp's own exception: what is measured for it is never of its size
        if values.size != experts * columns:
            raise ReleaseError(
                f"the importance matrix {self.name} has {values.size} numbers for {name}, "
                f"which has {experts * columns} columns",
                remedy="it was measured on another model: make it of this one with llama-imatrix",
            )
        return values.reshape(experts, columns)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ReleaseError when it is of a model with other tensors than these."""
        found = [self.of(name, shape) for name, shape in shapes.items()]
        if all(importance is None for importance in found):
            raise ReleaseError(
                f"the importance matrix {self.name} has no numbers for any tensor of this model",
                remedy="make one of this model with llama-imatrix, or leave it out",
            )


def read_imatrix(path: Path) -> Imatrix:
    """Read an importance matrix. Raises ReleaseError for a file that is none, is damaged, or is not finite."""
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == _MAGIC
            file.seek(0)
            found = _read_gguf(path) if is_gguf else _read_legacy(path.name, file)
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise ReleaseError(
            f"{path} is no importance matrix: {error}", remedy="make one with llama-imatrix, or leave it out"
        ) from None
    for name, values in found.values.items():
        if not np.isfinite(values).all():
            raise ReleaseError(f"the importance matrix {path} is not finite for {name}", remedy="measure it again")
    return found


def write_imatrix(path: Path, sums: Mapping[str, Sums], *, dataset: str, chunks: int, chunk: int) -> None:
    """Write sums by the names of tensors as llama-imatrix writes them, but for its statistics, which anybody makes of
    the sums; they are of `chunks` pieces of `dataset`, each of `chunk` tokens."""
    import_converter()
    import gguf

    writer = gguf.GGUFWriter(path, "imatrix")
    writer.kv_data[0].clear()  # an architecture, which this has not
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [dataset])
    writer.add_uint32("imatrix.chunk_count", chunks)
    writer.add_uint32("imatrix.chunk_size", chunk)
    for name, of_tensor in sorted(sums.items()):
        counts = of_tensor.counts[:, None]
        for what, values in ((_SUMS, of_tensor.squares), (_COUNTS, counts), (_PLAIN_SUMS, of_tensor.plain)):
            rows = values.reshape(len(counts), -1).astype(np.float32)
            writer.add_tensor(name + what, rows[0] if len(rows) == 1 else rows)  # as ggml drops dimensions of one
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_gguf(path: Path) -> Imatrix:
    import_converter()
    import gguf

    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: np.array(tensor.data, np.float32).reshape(-1) for tensor in reader.tensors}
    values = {}
    for name, sums in tensors.items():
        if not name.endswith(_SUMS):
            continue
        of = name.removesuffix(_SUMS)
        counts = np.rint(tensors[of + _COUNTS])
        # Experts that no token went to count as if each column mattered alike.
        means = np.ones((len(counts), sums.size // len(counts)), np.float32)
        seen = counts > 0
        means[seen] = sums.reshape(means.shape)[seen] / counts[seen, None].astype(np.float32)
        values[of] = means.reshape(-1)
    if not values:
        raise ValueError("it has no sums")
    datasets, chunks = (reader.get_field(f"imatrix.{key}") for key in ("datasets", "chunk_count"))
    return Imatrix(
        name=path.name,
        values=values,
        dataset=_first(datasets.contents()) if datasets else None,
        chunks=int(chunks.contents()) if chunks else 0,
    )


def _first(datasets: Any) -> str | None:
    return str(datasets[0]) if isinstance(datasets, list) and datasets else None


def _read_legacy(name: str, file: BinaryIO) -> Imatrix:
    values = {}
    number = _integer(file)
    if number < 1:
        raise ValueError(f"it claims {number} entries")
    for _ in range(number):
        tensor = _text(file)
        calls, size = _integer(file), _integer(file)
        sums = np.frombuffer(_bytes(file, 4 * size), np.float32)
        values[tensor] = sums / np.float32(calls) if calls > 0 else sums
    try:
        chunks, dataset = _integer(file), _text(file)
    except ValueError:  # older ones end before it
        chunks, dataset = 0, ""
    return Imatrix(name=name, values=values, dataset=dataset or None, chunks=chunks)


def _integer(file: BinaryIO) -> int:
    return int.from_bytes(_bytes(file, 4), "little", signed=True)


def _text(file: BinaryIO) -> str:
    return _bytes(file, _integer(file)).decode("utf-8")


def _bytes(file: BinaryIO, size: int) -> bytes:
    # A damaged length must not ask for memory that the file has not.
    at, end = file.tell(), file.seek(0, 2)
    file.seek(at)
    if not 0 <= size <= end - at:
        raise ValueError(f"it ends {size - (end - at)} bytes early" if size > 0 else "it has a negative length")
    return file.read(size)
