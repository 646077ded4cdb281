"""Headers of safetensors files: where each tensor's bytes are, and which files are refused."""

import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.safetensors import MAX_HEADER_BYTES, read_header

from tests.tiny import write_raw, write_tensors


def described(*offsets: Any, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(path: Path) -> str:
    with pytest.raises(ReleaseError) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    """Names, dtypes, shapes, byte ranges and values are those that the safetensors library wrote."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4).astype(ml_dtypes.bfloat16)
    path = write_tensors(tmp_path / "a.safetensors", {"w": weight, "n": np.array([7, -1], np.int64)})
    header = read_header(path)
    assert {name: (entry.dtype, entry.shape) for name, entry in header.tensors.items()} == {
        "w": ("BF16", (3, 4)),
        "n": ("I64", (2,)),
    }
    assert header.read("w").tobytes() == weight.tobytes()
    assert header.read("n").tolist() == [7, -1]
    assert (header.tensors["w"].elements, header.tensors["w"].nbytes) == (12, 24)
    assert header.size == path.stat().st_size


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    """The header's own order does not count: tensors are listed as their bytes follow each other."""
    header = {"second": described(8, 16), "first": described(0, 8)}
    assert list(read_header(write_raw(tmp_path / "a", header, bytes(16))).tensors) == ["first", "second"]


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    """`__metadata__` is left out, and an empty file of tensors is valid."""
    header = read_header(write_raw(tmp_path / "a", {"__metadata__": {"format": "pt"}}))
    assert (dict(header.tensors), header.size) == ({}, header.data_start)


def test_empty_and_scalar_tensors(tmp_path: Path) -> None:
    """A tensor without elements and one without dimensions are both read."""
    tensors = {"none": np.zeros((0, 4), np.float32), "one": np.array(2.5, np.float32)}
    header = read_header(write_tensors(tmp_path / "a", tensors))
    assert header.read("none").shape == (0, 4)
    assert header.read("one").item() == 2.5


def test_padded_header(tmp_path: Path) -> None:
    """Spaces after the JSON, with which writers align the data, are part of the header."""
    path = write_raw(tmp_path / "a", b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}     ', b"\1\2")
    assert read_header(path).read("w").tolist() == [1, 2]


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is refused by its path."""
    assert "does not exist" in refused(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("content", [b"", b"\1\0\0\0", struct.pack("<Q", 10) + b"{}", struct.pack("<Q", 2**64 - 1)])
def test_cut_off_inside_the_header(tmp_path: Path, content: bytes) -> None:
    """A file shorter than the header it announces is refused."""
    path = tmp_path / "a"
    path.write_bytes(content)
    assert "less than its own header needs" in refused(path)


def test_huge_header_is_not_read(tmp_path: Path) -> None:
    """A header that claims more than the format's limit is refused although the file is as long."""
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(MAX_HEADER_BYTES + 100)  # sparse: no disk is used
    assert f"claims {MAX_HEADER_BYTES + 1} bytes" in refused(path)


def test_cut_off_inside_the_data(tmp_path: Path) -> None:
    """A file that lost its last byte is refused with both sizes and a remedy."""
    path = write_tensors(tmp_path / "a", {"w": np.ones(100, np.float32)})
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=f"describes {size} bytes and the file has {size - 1}") as caught:
        read_header(path)
    assert caught.value.remedy


def test_bytes_after_the_end(tmp_path: Path) -> None:
    """A file with a byte too many is refused."""
    path = write_tensors(tmp_path / "a", {"w": np.ones(4, np.float32)})
    path.write_bytes(path.read_bytes() + b"\0")
    assert "header describes" in refused(path)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"not json", "not valid JSON"),
        (b"\xff\xfe\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": {"dtype": "U8", "dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}', "stands twice"),
        ({"a": 5}, "malformed"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "malformed"),
        ({"a": described(0)}, "malformed"),
        ({"a": described(0, 8, shape=None)}, "malformed"),
        ({"a": described(0, 8), "b": described(4, 12)}, "bytes of b do not follow"),
        ({"a": described(0, 8), "b": described(0, 8)}, "bytes of b do not follow"),
        ({"a": described(0, 8), "b": described(9, 17)}, "bytes of b do not follow"),
        ({"a": described(8, 16)}, "bytes of a do not follow"),
        ({"a": described(-8, 0)}, "whole numbers"),
        ({"a": described(0.0, 8.0)}, "whole numbers"),
        ({"a": described(False, 8)}, "whole numbers"),
        ({"a": described(0, 8, shape=["2"])}, "whole numbers"),
        ({"a": described(0, 8, shape=[-1, -2])}, "whole numbers"),
        ({"a": described(0, 8, shape=[3])}, "takes 12 bytes, not 8"),
        ({"a": described(8, 0)}, "takes 8 bytes, not -8"),
        ({"a": described(0, 8, dtype="F31")}, "unknown dtype 'F31'"),
        ({"a": described(0, 8, dtype=["F32"])}, "malformed"),
        ({"a": described(0, 16)}, "takes 8 bytes, not 16"),
    ],
)
def test_broken_header(tmp_path: Path, header: Any, problem: str) -> None:
    """A header that is no JSON, contradicts itself or leaves bytes unexplained is refused."""
    assert problem in refused(write_raw(tmp_path / "a", header, bytes(16)))


def test_pointer_of_git_lfs(tmp_path: Path) -> None:
    """Weights that were not fetched are no damaged file, and are told with the command that fetches them."""
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ReleaseError, match="is a pointer of git LFS, and not the file itself") as caught:
        read_header(path)
    assert "git lfs pull" in str(caught.value.remedy)
