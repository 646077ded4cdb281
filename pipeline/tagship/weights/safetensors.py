"""The header of a safetensors file: where each tensor's bytes are.

The `safetensors` library reads tensors but does not tell their byte ranges, which copying a
file without loading it needs. Format: https://huggingface.co/docs/safetensors, "Format". Nothing here
needs numpy until a tensor is read: every task reads headers.
"""

import json
import math
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import POINTER_BYTES, refuse_pointer

if TYPE_CHECKING:
    import numpy as np

# Of some 200 000 tensors in one file, several times what any model has; the safetensors library reads 100 MB, which
# takes seconds and hundreds of MB of memory.
MAX_HEADER_BYTES = 25_000_000

# Bytes of one element, by the format's own name.
SIZES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
# Those that weights are trained in.
FLOATS = ("F32", "F16", "BF16", "F64")


# A file's size in bytes and the time of its last change in nanoseconds.
Stamp = tuple[int, int]


class TensorEntry(Struct, frozen=True, kw_only=True):
    """One tensor of a file: `start` and `end` are offsets in bytes from the file's begin."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start

    @property
    def numpy_dtype(self) -> "np.dtype[Any]":
        from tagship.weights.dtypes import DTYPES

        return DTYPES[self.dtype]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Header(Struct, frozen=True, eq=False, dict=True):
    """A safetensors file: its tensors in the order of their bytes, where those begin, and by what the file
    is known again (`stamp_of`)."""

    path: Path
    data_start: int
    tensors: Mapping[str, TensorEntry]
    stamp: Stamp

    @cached_property
    def size(self) -> int:
        """The length that the header declares for the whole file, in bytes."""
        return max((entry.end for entry in self.tensors.values()), default=self.data_start)

    def read(self, name: str) -> "np.ndarray[Any, np.dtype[Any]]":
        """A whole tensor, as an array of its own dtype."""
        import numpy as np

        entry = self.tensors[name]
        data = np.fromfile(self.path, dtype=np.uint8, count=entry.nbytes, offset=entry.start)
        return data.view(entry.numpy_dtype).reshape(entry.shape)

    def mapped(self, name: str) -> "np.ndarray[Any, np.dtype[Any]]":
        """The same, of which only that is read from the file which somebody looks at."""
        import numpy as np

        entry = self.tensors[name]
        data = np.memmap(self.path, np.uint8, "r")[entry.start : entry.end]
        return data.view(entry.numpy_dtype).reshape(entry.shape)


def read_header(path: Path) -> Header:
    """Read and check a header.

    Raises ReleaseError that names the file and what is wrong with it: a missing or cut-off
    file, a pointer of git LFS, a header that is too long or no JSON, unknown dtypes, ranges that overlap,
    leave gaps, do not fit the shape or do not end where the file does.
    """
    try:
        with path.open("rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            tensors, data_start = parse_header(file, stamp[0], path)
    except FileNotFoundError:
        raise ReleaseError(f"{path} does not exist") from None
    return Header(path=path, data_start=data_start, tensors=tensors, stamp=stamp)


def parse_header(file: BinaryIO, size: int, path: Path) -> tuple[Mapping[str, TensorEntry], int]:
    """The tensors of an open file of `size` bytes, wherever it is, and where their bytes begin; `path` names it in
    messages. Raises ReleaseError as `read_header`."""
    start = file.read(POINTER_BYTES)
    refuse_pointer(path, start)
    length = int.from_bytes(start[:8], "little")
    file.seek(8)
    if size < 8 or length > size - 8:
        raise _broken(path, f"it has {size} bytes, less than its own header needs")
    if length > MAX_HEADER_BYTES:
        raise _broken(path, f"its header claims {length} bytes, more than any model's")
    tensors = _entries(path, file.read(length), 8 + length)
    described = max((entry.end for entry in tensors.values()), default=8 + length)
    if described != size:
        raise _broken(path, f"its header describes {described} bytes and the file has {size}")
    return tensors, 8 + length


def pickled(folder: Path) -> ReleaseError | None:
    """The refusal of weights in a folder that are pickled, if there are any."""
    found = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if not found:
        return None
    return ReleaseError(
        f"{folder} has its weights as pickle ({found[0]}), which can run code and is never loaded here",
        remedy="load it once with the library that wrote it, and save_pretrained(…), which writes safetensors",
    )


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells a file from what is written over it later."""
    return status.st_size, status.st_mtime_ns


def _entries(path: Path, text: bytes, data_start: int) -> dict[str, TensorEntry]:
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header is not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise _broken(path, "its header is not a JSON object")
    document.pop("__metadata__", None)
    try:
        entries = [_entry(name, item, data_start) for name, item in document.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"its header is malformed ({error})") from None
    entries.sort(key=lambda entry: (entry.start, entry.end))
    position = data_start
    for entry in entries:
        if entry.start != position:
            raise _broken(path, f"the bytes of {entry.name} do not follow the tensor before it")
        position = entry.end
    return {entry.name: entry for entry in entries}


def _entry(name: str, item: Any, data_start: int) -> TensorEntry:
    start, end = item["data_offsets"]
    shape = tuple(item["shape"])
    if not all(type(number) is int and number >= 0 for number in (start, end, *shape)):
        raise ValueError(f"{name}: offsets and shape must be whole numbers")
    if item["dtype"] not in SIZES:
        raise ValueError(f"{name}: unknown dtype {item['dtype']!r}")
    expected = math.prod(shape) * SIZES[item["dtype"]]
    if end - start != expected:
        raise ValueError(f"{name}: {item['dtype']} {list(shape)} takes {expected} bytes, not {end - start}")
    return TensorEntry(name=name, dtype=item["dtype"], shape=shape, start=data_start + start, end=data_start + end)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _broken(path: Path, problem: str) -> ReleaseError:
    return ReleaseError(
        f"{path} is not a whole safetensors file: {problem}",
        remedy="it was cut off, is still being written, or is damaged: copy or save it again",
    )
