"""Merged weights whose files were sent on."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_file_by_file, write_merged
from tagship.weights.remade import RemadeMatrices, digests_of, let_go

from tests import tiny

pytestmark = pytest.mark.slow

KINDS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "lora": (tiny.phi3, {"target_modules": ["qkv_proj", "down_proj"]}),
    "dora": (tiny.llama, {"target_modules": ["q_proj", "v_proj"], "use_dora": True}),
    "head": (tiny.llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "conv1d": (tiny.gpt2, {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
}


@pytest.fixture(params=list(KINDS))
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> MergedWeights:
    """Base + adapter of each kind."""
    make, lora = KINDS[request.param]
    base = make(tmp_path / "base")
    adapter = tiny.adapter(base, tmp_path / "adapter", **lora)
    return MergedWeights(open_checkpoint(base), read_adapter(adapter))


@pytest.mark.parametrize("most", [None, 100_000], ids=["the base's files", "small files"])
def test_digests_are_those_of_the_files(weights: MergedWeights, tmp_path: Path, most: int | None) -> None:
    """Merged once more, each file has the digest that it has where it is written."""
    folder = tmp_path / "merged"
    folder.mkdir()
    write_merged([(weights, folder)], max_shard=most)
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}
    assert dict(digests_of(weights, most)) == written
    assert len(written) > 1 or most is None


def test_file_by_file(weights: MergedWeights, tmp_path: Path) -> None:
    """One file is there at a time; its bytes, and the index, are those of all files at once."""
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    whole.mkdir()
    alone.mkdir()
    write_merged([(weights, whole)], max_shard=100_000)
    seen = []
    for path, digest in write_file_by_file(weights, alone, max_shard=100_000):
        assert digest in (None, hashlib.sha256(path.read_bytes()).hexdigest())
        assert [path.name for path in alone.glob("*.safetensors")] == [path.name]
        assert path.read_bytes() == (whole / path.name).read_bytes()
        path.unlink()
        seen.append(path.name)
    assert sorted(seen) == sorted(path.name for path in whole.glob("*.safetensors"))
    index = "model.safetensors.index.json"
    assert (alone / index).read_bytes() == (whole / index).read_bytes()


def test_let_go(weights: MergedWeights, tmp_path: Path) -> None:
    """A file that is let go of takes no room but for its header, and says what it said of its tensors."""
    write_merged([(weights, tmp_path)])
    (path,) = tmp_path.glob("*.safetensors")
    before, size = open_checkpoint(tmp_path).entries(), path.stat().st_size
    let_go(path)
    assert open_checkpoint(tmp_path).entries() == before and path.stat().st_size == size
    assert path.stat().st_blocks * 512 <= min(entry.start for entry in before.values()) + 4096


def test_rows_are_those_of_the_file(weights: MergedWeights, tmp_path: Path) -> None:
    """Rows of any matrix, from anywhere, are what the file has."""
    write_merged([(weights, tmp_path)])
    made = RemadeMatrices(weights)
    held = {name: shard for shard in open_checkpoint(tmp_path).shards for name in shard.tensors}
    matrices = [output for output in weights.outputs.values() if len(output.shape) == 2]
    for output in matrices:
        stored = held[output.name].read(output.name).astype(np.float32)
        for start, stop in ((0, output.shape[0]), (3, 4), (output.shape[0] // 2, output.shape[0])):
            np.testing.assert_array_equal(made.of(output).rows(start, stop), stored[start:stop])
