"""Which file of a merged model holds which tensor: the base's own, or files of a limited size."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint
from tagship.weights.layout import lay_out
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.merged_rows import whole_tensor

from tests import tiny

torch = pytest.importorskip("torch")

KB = 1000


def merged_llama(folder: Path, *, shard: str = "1GB", dtype: str | None = None, **lora: Any) -> MergedWeights:
    base = tiny.llama(folder / "base", shard=shard)
    return MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, folder / "adapter", **lora)), dtype)


def write(weights: MergedWeights, folder: Path, max_shard: int | None = None) -> Path:
    folder.mkdir()
    write_merged([(weights, folder)], max_shard=max_shard)
    return folder


def check_whole(weights: MergedWeights, folder: Path) -> None:
    """Every tensor is there once, with the right bytes, for the safetensors library, too."""
    from safetensors import safe_open

    checkpoint = open_checkpoint(folder)
    assert checkpoint.entries().keys() == weights.outputs.keys()
    names = [name for shard in checkpoint.shards for name in shard.tensors]
    assert len(names) == len(set(names))
    for shard in checkpoint.shards:
        with safe_open(shard.path, "pt") as file:
            assert set(file.keys()) == set(shard.tensors)
            assert file.metadata() == {"format": "pt"}
            for name in file.keys():  # noqa: SIM118
                assert file.get_tensor(name).numel() == shard.tensors[name].elements
        for name, entry in shard.tensors.items():
            assert entry.start % entry.numpy_dtype.itemsize == 0
            assert shard.read(name).tobytes() == whole_tensor(weights, name).tobytes()


def load(folder: Path, base: Path, changes: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with tiny.foreign_warnings():
        return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


@pytest.mark.parametrize("base_shard", ["1GB", "60KB"])
@pytest.mark.parametrize("most", [1, 40 * KB, 100 * KB])
def test_files_of_a_limited_size(tmp_path: Path, base_shard: str, most: int) -> None:
    """No file holds more bytes of weights than the limit, but where one tensor alone is larger; names, index and
    header are those that transformers reads."""
    weights = merged_llama(tmp_path, shard=base_shard)
    folder = write(weights, tmp_path / "merged", most)
    check_whole(weights, folder)
    shards = open_checkpoint(folder).shards
    for shard in shards:
        assert shard.size - shard.data_start <= most or len(shard.tensors) == 1
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, INDEX_FILE]
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == weights.nbytes
    model = load(folder, tmp_path / "base", weights.config_changes())
    for name, tensor in model.state_dict().items():
        assert tensor.view(dtype=torch.int16).numpy().tobytes() == whole_tensor(weights, name).tobytes()


def test_files_are_filled(tmp_path: Path) -> None:
    """A file is ended only where the next tensor would not fit."""
    weights = merged_llama(tmp_path)
    shards = lay_out(weights, 100 * KB).shards
    for one, following in pairwise(shards):
        held = sum(output.nbytes for output, _ in one.tensors)
        first = next(output for output in weights.outputs.values() if output in [o for o, _ in following.tensors])
        assert held + first.nbytes > 100 * KB


@pytest.mark.parametrize("base_shard", ["1GB", "60KB"])
def test_limit_that_all_fits_in(tmp_path: Path, base_shard: str) -> None:
    """What fits into one file is one file without an index."""
    weights = merged_llama(tmp_path, shard=base_shard)
    folder = write(weights, tmp_path / "merged", 10**9)
    assert [path.name for path in folder.iterdir()] == [SINGLE_FILE]
    check_whole(weights, folder)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("base_shard", ["1GB", "60KB"])
def test_conversion_keeps_the_files(tmp_path: Path, base_shard: str, dtype: str) -> None:
    """Another dtype leaves each tensor in the file that it was in, and the index tells the new size."""
    weights = merged_llama(tmp_path, shard=base_shard, dtype=dtype)
    folder = write(weights, tmp_path / "merged")
    check_whole(weights, folder)
    merged = open_checkpoint(folder)
    held = {name: shard.path.name for shard in merged.shards for name in shard.tensors}
    assert held == {name: shard.path.name for shard in weights.base.shards for name in shard.tensors}
    if merged.index:
        assert merged.index["metadata"]["total_size"] == weights.nbytes
    model = load(folder, tmp_path / "base", weights.config_changes())
    assert str(model.dtype) == {"F32": "torch.float32", "F16": "torch.float16"}[dtype]


def test_conversion_to_the_dtype_of_the_base(tmp_path: Path) -> None:
    """Where the conversion changes nothing the header is the base's, byte by byte."""
    weights = merged_llama(tmp_path, dtype="BF16")
    folder = write(weights, tmp_path / "merged")
    (shard,) = weights.base.shards
    assert (folder / SINGLE_FILE).read_bytes()[: shard.data_start] == shard.path.read_bytes()[: shard.data_start]


def untied(folder: Path, *, shard: str) -> MergedWeights:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    with tiny.foreign_warnings():
        LlamaForCausalLM(config).save_pretrained(folder / "base", max_shard_size=shard)
    adapter = tiny.adapter(folder / "base", folder / "adapter", target_modules=["lm_head"])
    return MergedWeights(open_checkpoint(folder / "base"), read_adapter(adapter))


@pytest.mark.parametrize("base_shard", ["1GB", "10KB"])
def test_head_that_was_tied(tmp_path: Path, base_shard: str) -> None:
    """A head that gets a tensor of its own goes to the last file, the others keep their headers, and the index has
    the head, its bytes and its parameters."""
    weights = untied(tmp_path, shard=base_shard)
    folder = write(weights, tmp_path / "merged")
    check_whole(weights, folder)
    before, after = weights.base.shards, open_checkpoint(folder).shards
    assert [shard.path.name for shard in after] == [shard.path.name for shard in before]
    assert after[-1].tensors.keys() - before[-1].tensors.keys() == {"lm_head.weight"}
    for one, other in zip(before[:-1], after[:-1], strict=True):
        assert one.path.read_bytes()[: one.data_start] == other.path.read_bytes()[: one.data_start]
    model = load(folder, tmp_path / "base", weights.config_changes())
    index = open_checkpoint(folder).index
    assert (index is None) == (len(before) == 1)
    if index:
        assert index["weight_map"]["lm_head.weight"] == after[-1].path.name
        assert index["metadata"] == {"total_parameters": model.num_parameters(), "total_size": weights.nbytes}


def test_tensors_begin_at_multiples_of_their_element(tmp_path: Path) -> None:
    """Behind an odd number of bytes a new tensor would not be aligned: wide dtypes are written first."""
    base = tmp_path / "base"
    base.mkdir()
    tensors = {"proj.weight": np.ones((3, 4), np.float16), "mask": np.ones(3, np.bool_)}
    tiny.write_tensors(base / SINGLE_FILE, tensors)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    tiny.write_tensors(
        adapter / "adapter_model.safetensors", {"base_model.model.score.weight": np.ones((2, 4), np.float32)}
    )
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}', encoding="utf-8")
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter))
    check_whole(weights, write(weights, tmp_path / "merged"))
