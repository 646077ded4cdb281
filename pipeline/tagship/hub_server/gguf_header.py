"""The header of a GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

import math
import struct
from typing import Any

from tagship.hub_server.headers import BadHeader, Bytes

# A vocabulary of a quarter million tokens takes 10 MB.
_LONGEST = 64_000_000
_FIRST = 1_000_000
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


class _More(Exception):
    """The header goes on after what was read."""


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip(self, size: int) -> int:
        at = self._at
        self._at += size
        if self._at > len(self._data):
            raise _More
        return at

    def number(self, kind: int) -> Any:
        return struct.unpack_from("<" + _FORMATS[kind], self._data, self.skip(_SIZES[kind]))[0]

    def text(self) -> str:
        size = self.number(10)
        at = self.skip(size)
        return self._data[at : at + size].decode(errors="replace")

    def value(self, kind: int) -> Any:
        """A value; None for an array, which is only passed over."""
        if kind == _STRING:
            return self.text()
        if kind in _SIZES:
            return self.number(kind)
        if kind != _ARRAY:
            raise BadHeader(f"a value of the unknown type {kind}")
        inner, count = self.number(4), self.number(10)
        if inner in _SIZES:
            self.skip(_SIZES[inner] * count)
        elif inner == _STRING:
            for _ in range(count):
                self.skip(self.number(10))
        else:
            raise BadHeader("an array of arrays")
        return None


def read_gguf(file: Bytes) -> dict[str, Any]:
    """What the Hub shows of a GGUF: parameters in `total`, architecture, context length, template, tokens.

    Raises BadHeader.
    """
    size = _FIRST
    while True:
        try:
            return _read(_Cursor(file.take(size)))
        except _More as more:
            if size >= min(_LONGEST, file.size):
                raise BadHeader("the header does not end") from more
            size *= 4
        except struct.error as error:
            raise BadHeader(str(error)) from error


def _read(cursor: _Cursor) -> dict[str, Any]:
    magic, version = cursor.number(4), cursor.number(4)
    if magic != int.from_bytes(b"GGUF", "little") or version not in (2, 3):
        raise BadHeader("no GGUF of version 2 or 3")
    tensors, keys = cursor.number(10), cursor.number(10)
    values = {}
    for _ in range(keys):
        name = cursor.text()
        values[name] = cursor.value(cursor.number(4))
    total = 0
    for _ in range(tensors):
        cursor.text()
        dimensions = cursor.number(4)
        if dimensions > _MOST_DIMENSIONS:
            raise BadHeader(f"a tensor of {dimensions} dimensions")
        total += math.prod(cursor.number(10) for _ in range(dimensions))
        cursor.skip(_SIZES[4] + _SIZES[10])
    return {"total": total, **_shown(values)}


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    architecture = values.get("general.architecture")
    keys = {
        "architecture": "general.architecture",
        "context_length": f"{architecture}.context_length",
        "quantize_imatrix_file": "quantize.imatrix.file",
        "chat_template": "tokenizer.chat_template",
    }
    return {name: values[key] for name, key in keys.items() if values.get(key) is not None}
