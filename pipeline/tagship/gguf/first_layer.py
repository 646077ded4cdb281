"""A GGUF without most of its weights, for whoever asks for what it says and not for what it computes."""

import struct
from pathlib import Path

from tagship.gguf.header import GgufTensor, read_gguf_header

_COUNTS = struct.Struct("<QQ")  # of tensors, and of pairs in the metadata, behind four letters and the version
_COUNTS_START = 8
_NUMBER, _ONE = struct.pack("<I", 4), struct.pack("<I", 1)  # the type of a count of layers, and the count
_LAYERS = "blk."


def write_first_layer(path: Path, to: Path) -> bool:
    """Write a model that says what a GGUF says, word by word, and has one layer; its weights are zeros that take no
    place on the disk. Returns whether it can be written: not of what is in several files, or names no count of layers.
    A runtime may not take it for a model, where that has layers of several kinds.

    Raises ReleaseError for what is no GGUF, and OSError as writing does.
    """
    header = read_gguf_header(path)
    key = f"{header.text('general.architecture')}.block_count"
    if "split.count" in header.metadata or header.number(key) is None:
        return False
    with path.open("rb") as file:
        start, metadata = file.read(_COUNTS_START), file.read(header.list_start - _COUNTS_START)[_COUNTS.size :]
    named = _text(key) + _NUMBER
    before, found, after = metadata.partition(named)
    if not found:
        return False
    kept = [tensor for tensor in header.tensors if not tensor.name.startswith(_LAYERS) or _is_in_first(tensor)]
    alignment = header.number("general.alignment") or 32
    listed, position = b"", 0
    for tensor in kept:
        listed += _listed(tensor, position)
        position += -(-tensor.nbytes // alignment) * alignment
    with to.open("wb") as file:
        file.write(start + _COUNTS.pack(len(kept), len(header.metadata)))
        file.write(before + named + _ONE + after[len(_ONE) :] + listed)
        file.truncate(-(-file.tell() // alignment) * alignment + position)
    return True


def _is_in_first(tensor: GgufTensor) -> bool:
    return tensor.name.startswith(f"{_LAYERS}0.")


def _listed(tensor: GgufTensor, offset: int) -> bytes:
    """A tensor as a header lists it."""
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _text(tensor.name) + shape + struct.pack("<IQ", tensor.kind, offset)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded
