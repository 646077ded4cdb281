"""A GGUF without most of its weights, for whoever asks for what it says and not for what it computes."""

import struct
from pathlib import Path

from tagship.gguf.header import GgufTensor, aligned, read_gguf_header

# A file begins with four letters and its version; then come the counts of tensors, and of pairs in the metadata.
_COUNTS_START, _COUNTS = 8, struct.Struct("<QQ")
_NUMBER, _ONE = struct.pack("<I", 4), struct.pack("<I", 1)  # the type of a count of layers, and the count
# How tensors of any layer are named, and those of the first.
_ANY, _FIRST = "blk.", "blk.0."


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
        start = file.read(_COUNTS_START)
        file.seek(_COUNTS.size, 1)
        metadata = file.read(header.list_start - file.tell())
    named = _text(key) + _NUMBER
    before, found, after = metadata.partition(named)
    if not found:
        return False
    kept = [tensor for tensor in header.tensors if tensor.name.startswith(_FIRST) or not tensor.name.startswith(_ANY)]
    listed, position = b"", 0
    for tensor in kept:
        listed += _listed(tensor, position)
        position = aligned(position + tensor.nbytes, header.alignment)
    with to.open("wb") as file:
        file.write(start + _COUNTS.pack(len(kept), len(header.metadata)))
        file.write(before + named + _ONE + after[len(_ONE) :] + listed)
        file.truncate(aligned(file.tell(), header.alignment) + position)
    return True


def _listed(tensor: GgufTensor, offset: int) -> bytes:
    """A tensor as a header lists it."""
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _text(tensor.name) + shape + struct.pack("<IQ", tensor.kind, offset)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded
