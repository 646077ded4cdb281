"""GGUF headers, read without the gguf package: they say what was written, and any bytes are survived."""

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.gguf.header import LongList, parse_gguf_header, read_gguf_header
from tagship.gguf.types import FILE_TYPES, TENSOR_TYPES
from tagship.system.errors import ReleaseError

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def header(*, tensors: int = 0, pairs: int = 0, version: int = 3, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def parse(content: bytes) -> Any:
    return parse_gguf_header(io.BytesIO(content), len(content), "model.gguf")


def write(path: Path, metadata: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    """A file by gguf's own writer."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_uint32(key, value)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# What is written


def test_types_are_those_of_gguf() -> None:
    """The numbers, names and sizes of types are gguf's own."""
    assert {number: (kind.name, kind.block, kind.nbytes) for number, kind in TENSOR_TYPES.items()} == {
        int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType
    }
    theirs = {int(kind): kind.name for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    assert {number: name.removeprefix("ALL_").removeprefix("MOSTLY_") for number, name in theirs.items()} == FILE_TYPES


def test_header_by_another_writer(tmp_path: Path) -> None:
    """What gguf's writer wrote is read: values, lists, and of a vocabulary how long it is."""
    tokens = [f"token{number}" for number in range(2000)]
    metadata = {"general.name": "größer", "general.file_type": 15, "general.tags": ["a", "b"], "tokens": tokens}
    tensors = {"output.weight": np.ones((3, 5), np.float32), "blk.0.attn_q.weight": np.ones((2, 7), np.float16)}
    read = read_gguf_header(write(tmp_path / "model.gguf", metadata, tensors))
    assert read.text("general.architecture") == "llama" and read.text("general.name") == "größer"
    assert read.number("general.file_type") == 15 and read.metadata["general.tags"] == ["a", "b"]
    assert read.metadata["tokens"] == LongList(length=2000)
    assert [(tensor.name, tensor.shape, tensor.type_name) for tensor in read.tensors] == [
        ("output.weight", (5, 3), "F32"),
        ("blk.0.attn_q.weight", (7, 2), "F16"),
    ]


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
values = st.one_of(st.integers(0, 2**32 - 1), names, st.lists(names, min_size=1, max_size=3))
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


@in_one_folder
@given(
    metadata=st.dictionaries(names.filter(lambda name: not name.startswith("general.")), values, max_size=5),
    tensors=st.dictionaries(names, shapes, max_size=4),
)
def test_any_header_is_read(tmp_path: Path, metadata: dict[str, Any], tensors: dict[str, list[int]]) -> None:
    """Whatever gguf's writer writes is read with the same keys, values, names and shapes."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in tensors.items()}
    read = read_gguf_header(write(tmp_path / "any.gguf", metadata, arrays))
    assert {key: read.metadata[key] for key in metadata} == metadata
    assert {tensor.name: list(tensor.shape[::-1]) for tensor in read.tensors} == tensors


# What is damaged


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "needs 4 bytes, and there are 0"),
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (header(version=1), "version 1, and versions 2 and 3 are read"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "bytes are in the other order"),
        (header(tensors=2**63), "more than any model has"),
        (header(pairs=2**40), "more than any model has"),
        (header(pairs=1, rest=struct.pack("<Q", 2**62)), "its header needs"),
        (header(pairs=1, rest=text("key") + struct.pack("<I", 99)), "the type 99"),
        (header(pairs=1, rest=text("key") + struct.pack("<IIQ", 9, 0, 2**60)), "its header needs"),
        (header(pairs=1, rest=text("key") + struct.pack("<IIQ", 9, 77, 0)), "a list is of the type 77"),
        (header(pairs=1, rest=text("key") + struct.pack("<IIQ", 9, 9, 1) * 1 + struct.pack("<IQ", 9, 1) * 9), "type 9"),
        (header(pairs=2, rest=2 * (text("key") + struct.pack("<IB", 0, 1))), "'key' stands twice"),
        (header(pairs=1, rest=struct.pack("<Q", 1) + b"\xff" + struct.pack("<IB", 0, 1)), "can't decode"),
        (header(pairs=1, rest=text("general.alignment") + struct.pack("<II", 4, 24)), "a power of two"),
        (header(tensors=1, rest=text("w") + struct.pack("<I", 5)), "5 dimensions"),
        (header(tensors=1, rest=text("w") + struct.pack("<I4QIQ", 4, *[2**40] * 4, 0, 0)), "has the shape"),
        (header(tensors=1, rest=text("w") + struct.pack("<IQIQ", 1, 1000, 0, 0)), "its tensors need 4064 bytes"),
    ],
)
def test_damaged(content: bytes, problem: str) -> None:
    """What is no whole file is refused by its name, with what is wrong."""
    with pytest.raises(ReleaseError, match=problem) as caught:
        parse(content)
    assert str(caught.value).startswith("model.gguf is not a whole GGUF file: ")
    assert caught.value.remedy


def test_pointer(tmp_path: Path) -> None:
    """A pointer of git LFS is told as such."""
    path = tmp_path / "model.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ReleaseError, match="pointer of git LFS"):
        read_gguf_header(path)


def test_a_header_longer_than_any() -> None:
    """A header is read only so far as one can be; the file itself may be of any length."""
    content = header(pairs=1, rest=text("key") + struct.pack("<IQ", 8, 60_000_000))
    with pytest.raises(ReleaseError, match="its header is longer than 50000000 bytes"):
        parse_gguf_header(io.BytesIO(content), 10**12, "model.gguf")


def survives(content: bytes) -> None:
    try:
        read = parse(content)
    except ReleaseError:
        return
    assert read.data_start >= 24


@settings(deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    """Any bytes behind the magic are a header or are refused by a ReleaseError."""
    survives(content)
    survives(header(tensors=1, pairs=2, rest=content))
    survives(header(pairs=1, rest=text("key") + struct.pack("<I", 9) + content))


@settings(deadline=None)
@given(position=st.integers(0), byte=st.integers(0, 255), cut=st.integers(0))
def test_one_byte_changed_and_cut(position: int, byte: int, cut: int) -> None:
    """A header with one byte changed anywhere, or cut off anywhere, is one or is refused by a ReleaseError."""
    pairs = text("general.tags") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    pairs += text("n") + struct.pack("<If", 6, 1.5) + text("general.name") + struct.pack("<I", 8) + text("name")
    content = bytearray(
        header(tensors=1, pairs=3, rest=pairs + text("w") + struct.pack("<IQIQ", 1, 8, 0, 0) + bytes(96))
    )
    survives(bytes(content))
    content[position % len(content)] = byte
    survives(bytes(content))
    survives(bytes(content[: cut % len(content)]))


def test_memory_of_what_claims_much() -> None:
    """A list that is there takes no more memory than its bytes: a long one is passed over."""
    length = 1_000_000
    content = header(pairs=1, rest=text("key") + struct.pack("<IIQ", 9, 0, length) + bytes(length))
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        assert parse_gguf_header(file, len(content), "model.gguf").metadata["key"] == LongList(length=length)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
