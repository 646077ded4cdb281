"""The header of a GGUF file: what it says of its model, and which tensors it has, without reading any.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The `gguf` package reads it too,
but is optional here, maps the whole file, and takes a damaged one's word for how much memory to ask for. Nothing that
is read here is longer than the bytes that are there, and the vocabulary, nearly all of a header, is passed over.
"""

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from tagship.gguf.types import TENSOR_TYPES
from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import POINTER_BYTES, refuse_pointer

# Three times the largest vocabulary that there is, with its merges; and more than any model has of either.
MAX_HEADER_BYTES = 50_000_000
_MAX_PAIRS = 10_000
_MAX_TENSORS = 100_000
# ggml.h, GGML_MAX_DIMS.
_MAX_DIMENSIONS = 4
# Of longer lists only the number is kept: those of a vocabulary, or one number for each layer.
_LONGEST_KEPT = 1_000
_MAX_DEPTH = 4
_MAGIC = b"GGUF"
_ALIGNMENT, _USUAL_ALIGNMENT = "general.alignment", 32
_VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", _BOOL: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_FEWEST_BYTES = {kind: struct.calcsize(code) for kind, code in _NUMBERS.items()} | {_STRING: 8, _ARRAY: 12}


class LongList(Struct, frozen=True, kw_only=True):
    """A list in a header that was passed over: only how many values it has."""

    length: int


class GgufTensor(Struct, frozen=True, kw_only=True):
    """A tensor of a GGUF: `shape` in the order of the file (the columns first), `kind` as ggml numbers types, `offset`
    in bytes from where tensors begin."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def type_name(self) -> str:
        """ggml's name of its type."""
        known = TENSOR_TYPES.get(self.kind)
        return known.name if known else f"type {self.kind}"

    @property
    def nbytes(self) -> int:
        """The bytes that it takes; 0 where the type is not known here."""
        known = TENSOR_TYPES.get(self.kind)
        return self.elements // known.block * known.nbytes if known else 0


class GgufHeader(Struct, frozen=True, kw_only=True):
    """What a GGUF says of itself: `metadata` by key (text, numbers, lists, or `LongList`), and its tensors. In the file
    the list of tensors begins at `list_start`, and their data at `data_start`."""

    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    list_start: int
    data_start: int

    @property
    def alignment(self) -> int:
        """What the places of tensors are multiples of."""
        return self.number(_ALIGNMENT) or _USUAL_ALIGNMENT

    def text(self, key: str) -> str | None:
        """A key's text; None where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """A key's whole number; None where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def aligned(position: int, alignment: int) -> int:
    """The first multiple of the alignment that is not before a position."""
    return -(-position // alignment) * alignment


class _Damaged(ValueError):
    """The bytes are no header."""


def read_gguf_header(path: Path) -> GgufHeader:
    """Read and check the header of a file on disk. Raises ReleaseError as `parse_gguf_header`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            return parse_gguf_header(file, size, path)
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error.strerror}") from None


def parse_gguf_header(file: BinaryIO, size: int, where: Path | str) -> GgufHeader:
    """The header at the start of a file of `size` bytes; `where` names it in messages.

    Raises ReleaseError that says what is wrong: no GGUF, of another version or byte order, a pointer of git LFS, cut
    off, lengths that the file does not have, names twice, tensors that end behind the file.
    """
    start = file.read(POINTER_BYTES)
    refuse_pointer(Path(where), start)
    file.seek(0)
    try:
        header = _header(_Bytes(file, min(size, MAX_HEADER_BYTES)))
        _check_data(header, size)
    except (_Damaged, UnicodeDecodeError) as error:
        raise ReleaseError(
            f"{where} is not a whole GGUF file: {error}",
            remedy="it was cut off, is still being written, or is damaged: copy, fetch or make it again",
        ) from None
    return header


class _Bytes:
    """A file read from its start, which never gives or passes over more bytes than are left."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.position = 0

    def need(self, count: int) -> None:
        """Raise unless so many bytes are left."""
        if count > self._size - self.position:
            what = f"its header needs {self.position + count} bytes, and there are {self._size}"
            raise _Damaged(what if self._size < MAX_HEADER_BYTES else f"its header is longer than {self._size} bytes")

    def take(self, count: int) -> bytes:
        self.need(count)
        data = self._file.read(count)
        if len(data) != count:
            raise _Damaged(f"it ends after {self.position + len(data)} bytes, within its header")
        self.position += count
        return data

    def skip(self, count: int) -> None:
        self.need(count)
        self._file.seek(count, 1)
        self.position += count

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self) -> bytes:
        return self.take(self.number("<Q"))


def _header(data: _Bytes) -> GgufHeader:
    if data.take(4) != _MAGIC:
        raise _Damaged("it does not begin with GGUF")
    version = data.number("<I")
    if version not in _VERSIONS:
        order = ", or its bytes are in the other order" if version % 65536 == 0 else ""
        raise _Damaged(f"it is of version {version}, and versions 2 and 3 are read{order}")
    tensors, pairs = data.number("<Q"), data.number("<Q")
    if tensors > _MAX_TENSORS or pairs > _MAX_PAIRS:
        raise _Damaged(f"it claims {tensors} tensors and {pairs} keys, more than any model has")
    metadata = _by_name(data, pairs, lambda: _value(data, data.number("<I")), "key")
    list_start = data.position
    infos = _by_name(data, tensors, lambda: _tensor_info(data), "tensor")
    alignment = metadata.get(_ALIGNMENT, _USUAL_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise _Damaged(f"{_ALIGNMENT} is {alignment!r}, and must be a power of two")
    return GgufHeader(
        metadata=metadata,
        tensors=tuple(
            GgufTensor(name=name, shape=shape, kind=kind, offset=offset)
            for name, (shape, kind, offset) in infos.items()
        ),
        list_start=list_start,
        data_start=aligned(data.position, alignment),
    )


def _by_name(data: _Bytes, count: int, read: Callable[[], Any], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(count):
        name = data.text().decode("utf-8")
        if name in found:
            raise _Damaged(f"the {what} {name!r} stands twice")
        found[name] = read()
    return found


def _value(data: _Bytes, kind: int, depth: int = 0) -> Any:
    if kind in _NUMBERS:
        return data.number(_NUMBERS[kind])
    if kind == _STRING:
        return data.text().decode("utf-8", errors="replace")
    if kind != _ARRAY or depth == _MAX_DEPTH:
        raise _Damaged(f"a value is of the type {kind}, which there is not")
    return _list(data, depth)


def _list(data: _Bytes, depth: int) -> Any:
    kind, length = data.number("<I"), data.number("<Q")
    if kind not in _FEWEST_BYTES:
        raise _Damaged(f"a list is of the type {kind}, which there is not")
    data.need(length * _FEWEST_BYTES[kind])
    if length <= _LONGEST_KEPT:
        return [_value(data, kind, depth + 1) for _ in range(length)]
    if kind in _NUMBERS:
        data.skip(length * _FEWEST_BYTES[kind])
    elif kind == _STRING:
        for _ in range(length):
            data.skip(data.number("<Q"))
    else:
        for _ in range(length):
            _value(data, kind, depth + 1)
    return LongList(length=length)


def _tensor_info(data: _Bytes) -> tuple[tuple[int, ...], int, int]:
    dimensions = data.number("<I")
    if dimensions > _MAX_DIMENSIONS:
        raise _Damaged(f"a tensor has {dimensions} dimensions; ggml's have {_MAX_DIMENSIONS}")
    shape = struct.unpack(f"<{dimensions}Q", data.take(8 * dimensions))
    if math.prod(shape) >= 2**63:
        raise _Damaged(f"a tensor has the shape {list(shape)}")
    return shape, data.number("<I"), data.number("<Q")


def _check_data(header: GgufHeader, size: int) -> None:
    needed = max((header.data_start + tensor.offset + tensor.nbytes for tensor in header.tensors), default=0)
    if needed > size:
        raise _Damaged(f"its tensors need {needed} bytes, and it has {size}")
