"""Properties of reading safetensors headers: they say what was written, and any bytes are survived."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.system.errors import ReleaseError
from tagship.weights.dtypes import DTYPES
from tagship.weights.safetensors import SIZES, Header, read_header

from tests.tiny import write_tensors

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

names = st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 5), max_size=3)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype, shape = DTYPES[draw(st.sampled_from(sorted(DTYPES)))], draw(shapes)
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        data = bytes(byte & 1 for byte in data)
    return np.frombuffer(data, dtype).reshape(shape)


@in_one_folder
@given(tensors=st.dictionaries(names, arrays(), max_size=6))
def test_header_says_what_was_written(tmp_path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    """Whatever the safetensors library writes is read with the same names, dtypes, shapes and bytes."""
    header = read_header(write_tensors(tmp_path / "any.safetensors", tensors))
    assert header.tensors.keys() == tensors.keys()
    for name, array in tensors.items():
        entry = header.tensors[name]
        assert (entry.numpy_dtype, entry.shape, entry.nbytes) == (array.dtype, array.shape, array.nbytes)
        assert header.read(name).tobytes() == array.tobytes()


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        header = read_header(path)
    except ReleaseError:
        return
    assert isinstance(header, Header)
    assert header.size == len(content)


@in_one_folder
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    """Any bytes are a whole file or are refused by a ReleaseError."""
    survives(tmp_path / "any", content)


numbers = st.one_of(st.integers(-2, 40), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(sorted(DTYPES)), st.text(max_size=4), st.lists(st.integers(), max_size=2)),
        "shape": st.one_of(st.lists(numbers, max_size=3), numbers),
        "data_offsets": st.one_of(st.lists(numbers, max_size=3), numbers),
    },
)
documents = st.one_of(
    st.dictionaries(st.text(max_size=4), st.one_of(entries, numbers), max_size=3),
    st.recursive(numbers, lambda inner: st.lists(inner, max_size=3)),
)


@in_one_folder
@given(document=documents, data=st.binary(max_size=40))
def test_any_header(tmp_path: Path, document: Any, data: bytes) -> None:
    """Any JSON as a header is a whole file or is refused by a ReleaseError."""
    text = json.dumps(document).encode()
    survives(tmp_path / "any", struct.pack("<Q", len(text)) + text + data)


@in_one_folder
@given(tensors=st.dictionaries(names, arrays(), max_size=3), position=st.integers(0), byte=st.integers(0, 255))
def test_one_byte_changed(tmp_path: Path, tensors: dict[str, np.ndarray[Any, Any]], position: int, byte: int) -> None:
    """A file with one byte changed anywhere is a whole file or is refused by a ReleaseError."""
    content = bytearray(write_tensors(tmp_path / "any.safetensors", tensors).read_bytes())
    content[position % len(content)] = byte
    survives(tmp_path / "any", bytes(content))


def test_sizes_are_those_of_numpy() -> None:
    """The bytes of an element that are known without numpy are numpy's."""
    assert {name: dtype.itemsize for name, dtype in DTYPES.items()} == SIZES
