"""LoRA on the experts of a mixture: block by block and expert by expert, it is what PEFT computes at once."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagship.system.errors import ReleaseError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.experts import ExpertLowRank, ExpertsLowRank
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import whole_tensor
from tagship.weights.safetensors import TensorEntry

from tests import tiny

EXPERTS, RANK, IN, OUT = 3, 2, 5, 7
A = tiny.formula((EXPERTS * RANK, IN), 1)
B = tiny.formula((OUT, RANK * EXPERTS), 2)


def entry(name: str, array: np.ndarray[Any, Any]) -> TensorEntry:
    return TensorEntry(name=name, dtype="F32", shape=array.shape, start=0, end=array.nbytes)


def read(wanted: TensorEntry, *, kept: bool = False) -> np.ndarray[Any, Any]:
    return {"A": A, "B": B}[wanted.name]


def change(*, transposed: bool = False) -> ExpertsLowRank:
    return ExpertsLowRank(a=entry("A", A), b=entry("B", B), scale=0.5, experts=EXPERTS, transposed=transposed)


def exact(equation: str = "ore,eri->eoi") -> np.ndarray[Any, Any]:
    """The sum that PEFT writes (ParamWrapper.get_delta_weight)."""
    b, a = B.reshape(OUT, RANK, EXPERTS), A.reshape(EXPERTS, RANK, IN)
    return np.asarray(0.5 * np.einsum(equation, b, a), np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@given(cuts=st.sets(st.integers(1, EXPERTS * OUT - 1)))
def test_blocks_across_experts(transposed: bool, cuts: set[int]) -> None:
    """Blocks of rows that begin and end anywhere are those of all experts at once."""
    expected = exact("ore,eri->eio" if transposed else "ore,eri->eoi")
    total = np.ones((EXPERTS * expected.shape[1], expected.shape[2]), np.float32)
    apply = change(transposed=transposed).ready(read, lambda: iter(()))
    bounds = [0, *sorted(cut for cut in cuts if cut < len(total)), len(total)]
    for start, stop in pairwise(bounds):
        apply(total[start:stop], start, stop)
    assert np.array_equal(total.reshape(expected.shape), expected + 1)


def test_one_expert() -> None:
    """An expert's own tensors have its share: some of its outputs, from some on."""
    for expert in range(EXPERTS):
        part = ExpertLowRank(whole=change(), expert=expert, first=2, outputs=4)
        assert part.shape == (4, IN)
        rows = np.zeros((4, IN), np.float32)
        part.ready(read, lambda: iter(()))(rows, 0, 4)
        assert np.array_equal(rows, exact()[expert, 2:6])


# Adapters


def mixture(folder: Path, experts: int = 2, size: int = 4) -> Path:
    """A base with a tensor for each expert, in the way of Mixtral's files."""
    folder.mkdir()
    tensors = {
        f"model.layers.0.block_sparse_moe.experts.{expert}.{part}.weight": np.zeros((size, size), np.float32)
        for expert in range(experts)
        for part in ("w1", "w2", "w3")
    }
    tiny.write_tensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "mixtral"}), encoding="utf-8")
    return folder


def adapter(folder: Path, a: tuple[int, int], b: tuple[int, int], **config: Any) -> Path:
    """An adapter of one parameter of experts, with A and B of these shapes."""
    folder.mkdir()
    key = "base_model.model.model.layers.0.mlp.experts.lora_{}.weight"
    tiny.write_tensors(
        folder / "adapter_model.safetensors", {key.format("A"): tiny.formula(a, 1), key.format("B"): tiny.formula(b, 2)}
    )
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": [], "target_parameters": ["gate_up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(said | config), encoding="utf-8")
    return folder


def refused(base: Path, folder: Path) -> str:
    with pytest.raises(ReleaseError) as caught:
        MergedWeights(open_checkpoint(base), read_adapter(folder))
    assert caught.value.remedy
    return str(caught.value)


def test_another_number_of_experts(tmp_path: Path) -> None:
    """An adapter of three experts is refused for a base of two, which says so."""
    folder = adapter(tmp_path / "adapter", (6, 4), (8, 6))
    assert "has 2 experts in the base, and the adapter changes 3" in refused(mixture(tmp_path / "base"), folder)


def test_other_outputs(tmp_path: Path) -> None:
    """Experts of another size are refused by the names of their tensors."""
    folder = adapter(tmp_path / "adapter", (4, 4), (10, 4))
    said = refused(mixture(tmp_path / "base"), folder)
    assert "experts.0.w1.weight and" in said
    assert "have 8 outputs in the base, and the adapter 10" in said


def test_other_inputs(tmp_path: Path) -> None:
    """Experts with other inputs are refused, tensor by tensor."""
    folder = adapter(tmp_path / "adapter", (4, 5), (8, 4))
    assert "w1.weight is [4, 4], the adapter needs [4, 5]" in refused(mixture(tmp_path / "base"), folder)


@pytest.mark.parametrize(("a", "b"), [((5, 4), (8, 5)), ((4, 4), (8, 6))])
def test_rank_that_does_not_go_up(tmp_path: Path, a: tuple[int, int], b: tuple[int, int]) -> None:
    """A and B that are no whole number of ranks, or of different ones, are refused."""
    assert "has the rank 2 by adapter_config.json" in refused(
        mixture(tmp_path / "base"), adapter(tmp_path / "adapter", a, b)
    )


def test_parameter_that_the_configuration_does_not_name(tmp_path: Path) -> None:
    """Without the parameters' names nothing tells what the tensors are of, and nothing is left out silently."""
    folder = adapter(tmp_path / "adapter", (4, 4), (8, 4), target_parameters=None)
    assert "experts" in refused(mixture(tmp_path / "base"), folder)


def test_more_wrappers_than_parameters(tmp_path: Path) -> None:
    """Tensors of a second parameter, where one is named, are listed as left over."""
    folder = adapter(tmp_path / "adapter", (4, 4), (8, 4))
    from safetensors.numpy import load_file

    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tiny.write_tensors(path, tensors | {k.replace("lora_", "base_layer.lora_"): v for k, v in tensors.items()})
    assert "experts" in refused(mixture(tmp_path / "base"), folder)


def test_adapter_from_before_transformers_5(tmp_path: Path) -> None:
    """An adapter with a LoRA for each expert, as transformers 4 named them, merges into the files' own names, and
    answers as PEFT, which converts it when it is loaded."""
    torch = pytest.importorskip("torch")
    from peft import PeftModel
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=3,
    )
    torch.manual_seed(0)
    MixtralForCausalLM(config).save_pretrained(tmp_path / "base")
    shapes = {"w1": (48, 32), "w2": (32, 48), "w3": (48, 32)}
    modules = {
        f"model.layers.0.block_sparse_moe.experts.{expert}.{part}": shape
        for expert in range(3)
        for part, shape in shapes.items()
    }
    folder = tiny.exact_lora(tmp_path / "adapter", modules, rank=4)
    tiny.edit_json(
        folder / "adapter_config.json", target_modules=list(shapes), base_model_name_or_path=str(tmp_path / "base")
    )
    weights = MergedWeights(open_checkpoint(tmp_path / "base"), read_adapter(folder))
    assert weights.changed == {f"{module}.weight" for module in modules}
    with tiny.foreign_warnings():
        base = MixtralForCausalLM.from_pretrained(tmp_path / "base")
        merged = PeftModel.from_pretrained(base, folder).merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
    theirs = open_checkpoint(tmp_path / "merged").shards[0]
    for name in weights.changed:
        assert np.allclose(whole_tensor(weights, name), theirs.read(name), rtol=0, atol=1e-6), name
