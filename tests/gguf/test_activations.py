"""What matrices are multiplied with while llama.cpp computes, held against transformers' own modules."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.formats.ollama.importance import measure
from tagship.gguf.activations import Activations
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.gguf.imatrix import read_imatrix, write_imatrix
from tagship.system.errors import ReleaseError
from tagship.verify.runtimes.llama_api import LlamaModel
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights

from tests import tiny

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")
pytest.importorskip("conversion")
pytest.importorskip("xllamacpp")

pytestmark = pytest.mark.slow

METADATA = GgufMetadata(general={"general.name": "tiny"}, license="mit", add_bos=None)
IDS = [int(number) for number in np.random.default_rng(0).integers(4, 200, 96)]
EXPERTS, USED = 4, 2
# llama.cpp has keys and values in float16, which shows the more where signs cancel out.
NEAR, NEAR_PLAIN = 2e-3, 1e-2
OF_PHI3 = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}


def written(base: Path, adapter: Path, quant: str = "f32") -> Path:
    """A GGUF of a base with an adapter."""
    path = base.parent / f"{quant}.gguf"
    tiny.tokenizer(base)
    write_ggufs(
        MergedWeights(open_checkpoint(base), read_adapter(adapter)), base, {quant: path}, METADATA, lambda _: None
    )
    return path


def collected(path: Path) -> Activations:
    """The sums of a GGUF along IDS."""
    activations = Activations()
    with LlamaModel(path, context=len(IDS), watch=activations.callback) as model:
        model.compute(IDS)
    activations.check()
    return activations


def inputs_of(base: Path, adapter: Path | None, names: Mapping[str, str]) -> dict[str, Any]:
    """What modules of a model are given along IDS: (tokens, columns) by the name that `names` has for each module."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with tiny.foreign_warnings():
        model = PeftModel.from_pretrained(model, adapter) if adapter else model
    seen: dict[str, Any] = {}
    for name, module in model.named_modules():
        found = next((key for key, of in names.items() if name.endswith(of)), None)
        if found:
            module.register_forward_pre_hook(partial(keep, seen, found))
    with torch.inference_mode():
        model(torch.tensor([IDS]))
    return seen


def keep(seen: dict[str, Any], name: str, _: Any, given: Any) -> None:
    seen.setdefault(name, given[0].reshape(-1, given[0].shape[-1]).numpy())


def of_layers(names: Mapping[str, str]) -> dict[str, str]:
    return {f"blk.{layer}.{key}.weight": f"layers.{layer}.{of}" for layer in range(2) for key, of in names.items()}


def near(found: Any, expected: Any, by: float = NEAR) -> bool:
    return bool(np.abs(found - expected).max() <= by * np.abs(expected).max())


def test_sums_are_of_what_the_modules_are_given(tmp_path: Path) -> None:
    """Each matrix of each layer has the sums of base + adapter's inputs and of their squares, also of the last layer,
    whose output only some tokens need; head and embeddings have none."""
    base = tiny.phi3(tmp_path / "base", dtype=tiny.FLOAT32)
    adapter = tiny.adapter(base, tmp_path / "adapter", size=0.3)
    sums = collected(written(base, adapter)).sums
    expected = inputs_of(base, adapter, of_layers(OF_PHI3))
    assert sums.keys() == expected.keys()
    for name, given in expected.items():
        assert near(sums[name].squares[0], np.square(given).sum(axis=0)), name
        assert near(sums[name].plain[0], given.sum(axis=0), NEAR_PLAIN), name
        assert sums[name].counts.tolist() == [len(IDS)]


def test_experts_count_the_tokens_that_they_get(tmp_path: Path) -> None:
    """Of a mixture each expert has the sums of those tokens alone that its router sends to it."""
    base = tiny.mixtral(tmp_path / "base", dtype=tiny.FLOAT32, experts=EXPERTS)
    adapter = tiny.adapter(base, tmp_path / "adapter", size=0.0, target_modules=["q_proj"])
    sums = collected(written(base, adapter)).sums
    given = inputs_of(base, None, of_layers({"ffn_gate_exps": "mlp"}))
    weights = {name: entry for name, entry in whole(base).items() if "gate.weight" in name}
    assert len(weights) == len(given) == 2
    for layer, (name, inputs) in enumerate(given.items()):
        gate = next(values for key, values in weights.items() if f"layers.{layer}." in key)
        chosen = np.argsort(-(inputs @ gate.T), axis=1)[:, :USED]
        for kind in (name, name.replace("gate", "up")):
            assert sums[kind].counts.tolist() == [int((chosen == expert).sum()) for expert in range(EXPERTS)]
            for expert in range(EXPERTS):
                sent = inputs[(chosen == expert).any(axis=1)]
                assert near(sums[kind].squares[expert], np.square(sent).sum(axis=0)), (kind, expert)
        down = sums[name.replace("gate", "down")]
        assert down.counts.tolist() == sums[name].counts.tolist()
        assert down.squares.shape == (EXPERTS, 96)


def whole(base: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(base / "model.safetensors")


def test_written_as_llama_imatrix_does(tmp_path: Path) -> None:
    """A file has sums and counts by the tensors' names, and says what it was measured on; reading it gives means."""
    base = tiny.llama(tmp_path / "base")
    path = written(base, tiny.adapter(base, tmp_path / "adapter"), "bf16")
    told: list[int] = []
    measured = measure(path, "the quick brown fox walks over lazy dogs " * 120, told.append)
    assert sum(told) == path.stat().st_size
    assert measured.chunk == 128  # as many as the model reads at once
    assert measured.chunks > 1
    made = tmp_path / "imatrix.gguf"
    write_imatrix(made, measured.sums, dataset="a.txt", chunks=measured.chunks, chunk=measured.chunk)
    reader = gguf.GGUFReader(made)
    said = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF")}
    assert said == {
        "general.type": "imatrix",
        "imatrix.datasets": ["a.txt"],
        "imatrix.chunk_count": measured.chunks,
        "imatrix.chunk_size": 128,
    }
    names = [tensor.name for tensor in reader.tensors]
    assert names[:3] == [f"blk.0.attn_k.weight.{what}" for what in ("in_sum2", "counts", "in_sum")]
    assert [tensor.shape.tolist() for tensor in reader.tensors[:3]] == [[64], [1], [64]]
    imatrix = read_imatrix(made)
    assert (imatrix.dataset, imatrix.chunks, imatrix.values.keys()) == ("a.txt", measured.chunks, measured.sums.keys())
    for name, sums in measured.sums.items():
        means = sums.squares / sums.counts[:, None]
        assert np.allclose(imatrix.values[name], means.reshape(-1), rtol=1e-5)
        assert sums.counts.tolist() == [128 * measured.chunks]


def test_pieces_begin_as_texts_do(tmp_path: Path) -> None:
    """Where a model has a token that begins texts, each piece begins with it in place of its first token."""
    base = tiny.phi3(tmp_path / "base", dtype=tiny.FLOAT32)
    adapter = tiny.adapter(base, tmp_path / "adapter")
    tiny.tokenizer(base)
    path = tmp_path / "m.gguf"
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter))
    begun = GgufMetadata(general={"general.name": "tiny"}, license="mit", add_bos=True)
    write_ggufs(weights, base, {"f32": path}, begun, lambda _: None)
    measured = measure(path, "the quick brown fox walks over lazy dogs " * 120, lambda _: None)
    with LlamaModel(path, context=128) as model:
        tokens = model.tokens("the quick brown fox walks over lazy dogs " * 120)
        assert model.beginning == tokens[0]
    activations = Activations()
    with LlamaModel(path, context=128, watch=activations.callback) as model:
        for piece in pieces(tokens, tokens[0]):
            model.compute(piece)
    name = "blk.0.attn_qkv.weight"
    assert np.array_equal(measured.sums[name].squares, activations.sums[name].squares)


def pieces(tokens: list[int], first: int) -> Iterator[list[int]]:
    for start in range(0, len(tokens) - 127, 128):
        yield [first, *tokens[start + 1 : start + 128]]


def test_refuses_too_short_a_text(tmp_path: Path) -> None:
    """A text of less than a piece is refused, with what to name instead."""
    base = tiny.llama(tmp_path / "base")
    path = written(base, tiny.adapter(base, tmp_path / "adapter"))
    with pytest.raises(ReleaseError, match=r"has \d+ tokens, and 128 is the least") as caught:
        measure(path, "the quick brown fox", lambda _: None)
    assert "imatrix_text" in str(caught.value.remedy)


def test_refuses_what_is_not_finite(tmp_path: Path) -> None:
    """A model that computes infinities is refused by the tensor where they show, and no matrix is made of it."""
    base = tiny.llama(tmp_path / "base", dtype=tiny.FLOAT32)
    tensors = whole(base)
    tensors["model.layers.0.mlp.up_proj.weight"] *= np.float32(1e38)
    tiny.write_tensors(base / "model.safetensors", tensors)
    path = written(base, tiny.adapter(base, tmp_path / "adapter"))
    with pytest.raises(ReleaseError, match=r"^what blk\.\d\.\S+ is multiplied with is not finite"):
        measure(path, "the quick brown fox walks over lazy dogs " * 120, lambda _: None)
