"""Importance matrices: both of llama.cpp's formats, and what is wrong with a file."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.gguf.imatrix import Imatrix, read_imatrix
from tagship.system.errors import ReleaseError

gguf = pytest.importorskip("gguf")

SUMS = np.array([[2, 4, 6, 8], [5, 5, 5, 5]], np.float32)
COUNTS = np.array([[2], [0]], np.float32)
WHERE: dict[str, Any] = {"dataset": None, "chunks": 0}
MEANS = [[1, 2, 3, 4], [1, 1, 1, 1]]


def write_gguf(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Path:
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_array("imatrix.datasets", ["a.txt", "b.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def legacy(entries: Mapping[str, tuple[int, list[float]]], trailer: bytes = b"") -> bytes:
    """The format before GGUF: of each tensor its name, in how many calls, and the sums over the calls."""
    packed = [
        struct.pack("<i", len(name)) + name.encode() + struct.pack(f"<ii{len(sums)}f", calls, len(sums), *sums)
        for name, (calls, sums) in entries.items()
    ]
    return struct.pack("<i", len(entries)) + b"".join(packed) + trailer


def refused(path: Path) -> str:
    with pytest.raises(ReleaseError) as caught:
        read_imatrix(path)
    assert caught.value.remedy
    assert path.name in str(caught.value)
    return str(caught.value)


def test_gguf(tmp_path: Path) -> None:
    """The mean over the tokens of each expert; one that saw none has every column alike."""
    path = write_gguf(tmp_path / "m.gguf", {"blk.0.x.weight.in_sum2": SUMS, "blk.0.x.weight.counts": COUNTS})
    found = read_imatrix(path)
    importance = found.of("blk.0.x.weight", (2, 5, 4))
    assert importance is not None
    assert importance.tolist() == MEANS
    assert (found.name, found.dataset, found.chunks) == ("m.gguf", "a.txt", 3)


def test_older_format(tmp_path: Path) -> None:
    """Sums over calls, with what they were measured on behind them or not."""
    trailer = struct.pack("<ii", 9, 5) + b"a.txt"
    for end, expected in ((b"", (None, 0)), (trailer, ("a.txt", 9))):
        path = tmp_path / "old.dat"
        path.write_bytes(legacy({"a.weight": (2, [2.0, 4.0]), "b.weight": (0, [3.0])}, end))
        found = read_imatrix(path)
        assert {name: values.tolist() for name, values in found.values.items()} == {"a.weight": [1, 2], "b.weight": [3]}
        assert (found.dataset, found.chunks) == expected


def test_tensor_that_was_not_measured() -> None:
    """A tensor without numbers is encoded without; so is the embedding, whose numbers are never of its size."""
    imatrix = Imatrix(name="m", values={"token_embd.weight": np.ones(3, np.float32)}, **WHERE)
    assert imatrix.of("blk.0.x.weight", (5, 4)) is None
    assert imatrix.of("token_embd.weight", (5, 4)) is None


def test_another_model(tmp_path: Path) -> None:
    """Numbers for another number of columns are of another model."""
    imatrix = Imatrix(name="m", values={"x.weight": np.ones(3, np.float32)}, **WHERE)
    with pytest.raises(ReleaseError, match=r"has 3 numbers for x\.weight, which has 4 columns") as caught:
        imatrix.of("x.weight", (5, 4))
    assert caught.value.remedy


def test_model_of_which_nothing_was_measured() -> None:
    """A matrix that no tensor of a model is in would do nothing: it is refused, as is one of other sizes."""
    imatrix = Imatrix(name="m", values={"x.weight": np.ones(4, np.float32)}, **WHERE)
    imatrix.check({"x.weight": (5, 4), "y.weight": (5, 4)})
    with pytest.raises(ReleaseError, match="no numbers for any tensor") as caught:
        imatrix.check({"y.weight": (5, 4)})
    assert caught.value.remedy
    with pytest.raises(ReleaseError, match="has 4 numbers"):
        imatrix.check({"x.weight": (5, 8)})
    two = Imatrix(name="m", values={"x.weight": np.ones(4, np.float32), "y.weight": np.ones(4, np.float32)}, **WHERE)
    with pytest.raises(ReleaseError, match=r"for y\.weight"):
        two.check({"x.weight": (5, 4), "y.weight": (5, 8)})


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(40), b"no such thing", struct.pack("<i", -3)])
def test_no_importance_matrix(tmp_path: Path, content: bytes) -> None:
    """Another file is refused by its name."""
    path = tmp_path / "other"
    path.write_bytes(content)
    assert "is no importance matrix" in refused(path)


def test_gguf_of_a_model(tmp_path: Path) -> None:
    """A model's GGUF is no importance matrix."""
    assert "it has no sums" in refused(write_gguf(tmp_path / "model.gguf", {"x.weight": SUMS}))


def test_sums_without_counts(tmp_path: Path) -> None:
    """Half of a tensor's numbers is damage."""
    assert "x.weight.counts" in refused(write_gguf(tmp_path / "half.gguf", {"x.weight.in_sum2": SUMS}))


def test_not_finite(tmp_path: Path) -> None:
    """NaN would make every row of a tensor worthless."""
    path = tmp_path / "nan.dat"
    path.write_bytes(legacy({"x.weight": (1, [1.0, float("nan")])}))
    assert "not finite for x.weight" in refused(path)


def test_cut_off(tmp_path: Path) -> None:
    """Every file that ends early, but for what is optional, is refused."""
    whole = legacy({"x.weight": (1, [1.0, 2.0])})
    for size in range(len(whole)):
        path = tmp_path / "cut.dat"
        path.write_bytes(whole[:size])
        assert "is no importance matrix" in refused(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"GGUF\3\0\0\0" + data))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file, it is read or refused by a message."""
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        read_imatrix(path)
    except ReleaseError as error:
        assert error.remedy
