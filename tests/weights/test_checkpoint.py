"""A model's weights on disk: one file, or shards with an index that must agree with them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint

from tests import tiny

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two shards: `a` and `b` in the first, `c` in the second."""
    tiny.write_tensors(tmp_path / FIRST, {"a": np.zeros(4, np.float32), "b": np.ones((2, 3), np.float16)})
    tiny.write_tensors(tmp_path / SECOND, {"c": np.arange(5, dtype=np.int64)})
    write_index(tmp_path, {"a": FIRST, "b": FIRST, "c": SECOND})
    return tmp_path


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def refused(folder: Path) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        open_checkpoint(folder)
    return caught.value


def test_single_file(tmp_path: Path) -> None:
    """A folder with model.safetensors is one shard without an index."""
    tiny.write_tensors(tmp_path / SINGLE_FILE, {"a": np.zeros((2, 4), np.float32)})
    checkpoint = open_checkpoint(tmp_path)
    assert [shard.path.name for shard in checkpoint.shards] == [SINGLE_FILE]
    assert checkpoint.index is None
    assert checkpoint.nbytes == (tmp_path / SINGLE_FILE).stat().st_size


def test_shards(sharded: Path) -> None:
    """Shards come in the order of their names, and each tensor is found in the one that holds it."""
    checkpoint = open_checkpoint(sharded)
    assert [shard.path.name for shard in checkpoint.shards] == [FIRST, SECOND]
    assert set(checkpoint.entries()) == {"a", "b", "c"}
    owner = checkpoint.owner("c")
    assert owner is not None
    assert owner.path.name == SECOND
    assert owner.read("c").tolist() == [0, 1, 2, 3, 4]
    assert checkpoint.owner("d") is None
    assert checkpoint.nbytes == sum((sharded / name).stat().st_size for name in (FIRST, SECOND))


def test_as_transformers_shards(tmp_path: Path) -> None:
    """A checkpoint that transformers sharded holds the same tensors as the one that it did not shard."""
    whole = open_checkpoint(tiny.llama(tmp_path / "whole"))
    parts = open_checkpoint(tiny.llama(tmp_path / "parts", shard="60KB"))
    assert len(parts.shards) > 2
    assert parts.index is not None
    assert {name: (entry.dtype, entry.shape) for name, entry in whole.entries().items()} == {
        name: (entry.dtype, entry.shape) for name, entry in parts.entries().items()
    }


def test_missing_shards_are_named(sharded: Path) -> None:
    """Every shard of the index that is not there is named, with a remedy."""
    (sharded / FIRST).unlink()
    (sharded / SECOND).unlink()
    error = refused(sharded)
    assert FIRST in str(error)
    assert SECOND in str(error)
    assert error.remedy


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..", "x.bin", ""])
def test_index_cannot_point_elsewhere(sharded: Path, name: str) -> None:
    """An index that names a file outside its folder, or no safetensors file, is refused."""
    write_index(sharded, {"a": FIRST, "b": FIRST, "c": name})
    assert repr(name) in str(refused(sharded))


@pytest.mark.parametrize(
    ("weight_map", "differing"),
    [
        ({"a": FIRST, "b": FIRST, "c": SECOND, "d": SECOND}, "d"),
        ({"a": FIRST, "c": SECOND}, "b"),
        ({"a": SECOND, "b": FIRST, "c": SECOND}, "a"),
    ],
)
def test_index_that_disagrees_with_its_shards(sharded: Path, weight_map: dict[str, str], differing: str) -> None:
    """An index that lists a tensor too many, too few, or in another shard is refused by the tensor's name."""
    write_index(sharded, weight_map)
    assert str(refused(sharded)).endswith(f"first about {differing}")


def test_tensor_in_two_shards(sharded: Path) -> None:
    """A tensor that two shards hold is refused: which of them is meant, nobody can tell."""
    tiny.write_tensors(sharded / SECOND, {"c": np.arange(5, dtype=np.int64), "b": np.zeros((2, 3), np.float16)})
    write_index(sharded, {"a": FIRST, "b": SECOND, "c": SECOND})
    assert str(refused(sharded)).endswith("first about b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"weight_map": null}',
        '{"weight_map": ["a"]}',
        '{"weight_map": {"a": 1}}',
        "\ufeff{}",
        "[" * 100_000,
    ],
)
def test_broken_index(sharded: Path, text: str) -> None:
    """An index that is no JSON, or not a map from tensors to files, is refused."""
    (sharded / INDEX_FILE).write_text(text, encoding="utf-8")
    assert f"{INDEX_FILE} is not " in str(refused(sharded))


def test_damaged_shard(sharded: Path) -> None:
    """A shard that was cut off is refused by its name."""
    (sharded / SECOND).write_bytes((sharded / SECOND).read_bytes()[:-1])
    assert SECOND in str(refused(sharded))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickle_is_refused(tmp_path: Path, name: str) -> None:
    """Weights that are only there as pickle are refused, and the remedy says how to convert them."""
    (tmp_path / name).write_bytes(b"\x80\x04.")
    error = refused(tmp_path)
    assert name in str(error)
    assert "pickle" in str(error)
    assert error.remedy
    assert "save_pretrained" in error.remedy


def test_no_weights(tmp_path: Path) -> None:
    """A folder without weights is refused, and both names that were looked for are told."""
    message = str(refused(tmp_path))
    assert SINGLE_FILE in message
    assert INDEX_FILE in message


def test_shards_without_an_index(sharded: Path) -> None:
    """Shards without their index are no checkpoint."""
    (sharded / INDEX_FILE).unlink()
    assert INDEX_FILE in str(refused(sharded))


def test_single_file_beside_an_index(sharded: Path) -> None:
    """Where both are there the single file counts, as for transformers, which answers for base + adapter."""
    shutil.copy(sharded / SECOND, sharded / SINGLE_FILE)
    assert [shard.path.name for shard in open_checkpoint(sharded).shards] == [SINGLE_FILE]
