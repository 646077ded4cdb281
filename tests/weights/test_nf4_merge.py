"""Adapters merged into what a base in NF4 dequantizes to: which tensors that are, and what comes of them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.merged_rows import whole_tensor
from tagship.weights.nf4_form import Nf4
from tagship.weights.nf4_tensors import to_nf4

from tests import tiny

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from tagship.verify.runtimes.nf4 import hold_in_nf4  # noqa: E402
from tagship.verify.runtimes.streaming import stream  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
]

NF4, DOUBLE = Nf4(double=False), Nf4(double=True)
SIZES = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}
GROUPED = SIZES | {"num_key_value_heads": 2}
OPT = {key: size for key, size in SIZES.items() if key != "intermediate_size"}
DEEPSEEK = {"n_routed_experts": 8, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "kv_lora_rank": 8}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "Llama": GROUPED,
    "Qwen3": GROUPED | {"head_dim": 8, "tie_word_embeddings": True},
    "Gemma2": GROUPED | {"head_dim": 8},
    "Phi3": SIZES | {"pad_token_id": 0},
    "GPTNeoX": SIZES,
    "OPT": OPT | {"ffn_dim": 80, "word_embed_proj_dim": 16},
    "Mixtral": GROUPED | {"num_local_experts": 4},
    "GptOss": GROUPED | {"num_local_experts": 4, "head_dim": 8},
    "Qwen2Moe": SIZES | {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "DeepseekV3": SIZES | DEEPSEEK | {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "q_lora_rank": 8},
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 96},
}


def saved(kind: str, folder: Path, dtype: Any = torch.bfloat16) -> Any:
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**MODELS[kind])
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_which_tensors(tmp_path: Path, kind: str) -> None:
    """By names and shapes those are found that are linear modules to transformers, but for the head."""
    model = saved(kind, tmp_path / "base")
    head = model.get_output_embeddings()
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    assert linear and set(to_nf4(open_checkpoint(tmp_path / "base").entries(), NF4)) == linear


def test_skipped_modules(tmp_path: Path) -> None:
    """Modules that the configuration names stay as they are; where it names any, the head is in 4 bits if it is not
    among them, as transformers has it."""
    saved("Llama", tmp_path / "base")
    entries = open_checkpoint(tmp_path / "base").entries()
    some = Nf4(double=False, skipped=("lm_head", "q_proj", "model.layers.0.mlp"))
    left_out = set(to_nf4(entries, NF4)) - set(to_nf4(entries, some))
    assert left_out == {
        *(f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)),
        *(f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    }
    assert "lm_head.weight" in to_nf4(entries, Nf4(double=False, skipped=("q_proj",)))


@pytest.mark.parametrize("form", [NF4, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Mixtral"])
def test_by_transformers_and_bitsandbytes(tmp_path: Path, kind: str, form: Nf4) -> None:
    """A model that they load in 4 bits has those modules in NF4, with those numbers."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    saved(kind, tmp_path / "base")
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=form.double
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", quantization_config=config, device_map="cpu"
    )
    loaded = {name: each for name, each in model.named_modules() if isinstance(each, bitsandbytes.nn.Linear4bit)}
    checkpoint = open_checkpoint(tmp_path / "base")
    ours = to_nf4(checkpoint.entries(), form)
    assert set(ours) == {f"{name}.weight" for name in loaded}
    for name, module in loaded.items():
        state = module.weight.quant_state
        flat = type(state).from_dict(state.as_dict(packed=True), torch.device("cpu"))
        flat.shape = torch.Size([state.shape.numel()])  # see tests/weights/test_nf4.py
        theirs = bitsandbytes.functional.dequantize_4bit(module.weight.data, flat).float().numpy()
        header = checkpoint.owner(f"{name}.weight")
        assert header is not None
        rows = header.read(f"{name}.weight").astype(np.float32)
        ours[f"{name}.weight"].prepared([rows])(made := rows.copy(), 0, len(rows))
        apart = np.abs(made.reshape(-1) - theirs.reshape(-1))
        assert (apart > 0).mean() < (0.05 if form.double else 1e-9) and apart.max() < 0.01 * np.abs(theirs).max()


ADAPTERS: Mapping[str, dict[str, Any]] = {
    "all": {},
    "some": {"target_modules": ["q_proj", "down_proj"]},
    "dora": {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
    "whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "o_proj"]},
    "head": {"target_modules": ["v_proj", "lm_head"]},
}


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 48 and 80 numbers: most blocks begin in one row and end in another."""
    return tiny.llama(tmp_path_factory.mktemp("base") / "base", hidden=48, dtype=request.param, shard="60KB")


def in_nf4(base: Path, adapter: Path, form: Nf4, *, whole: bool) -> Any:
    """Base + adapter in transformers and PEFT, the base in NF4: in float32, or computing in it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="float32" if whole else "auto")
    hold_in_nf4(model, form, open_checkpoint(base).main_dtype, whole=whole)
    adapted = peft.PeftModel.from_pretrained(model, adapter).eval()
    assert whole or stream(adapted)
    return adapted


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([[5, 9, 3, 7, 11, 250, 2, 90]])).logits.float()


@pytest.mark.parametrize("form", [NF4, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_answers_of_base_in_nf4_and_adapter(base: Path, tmp_path: Path, kind: str, form: Nf4) -> None:
    """The merged model gives their logits up to rounding, and not those of base + adapter; layers that are computed one
    by one give them, too. The base's files stay as they are."""
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    adapter = tiny.adapter(base, tmp_path / "adapter", **ADAPTERS[kind])
    (tmp_path / "merged").mkdir()
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter), "F32", form)
    write_merged([(weights, tmp_path / "merged")])
    (tmp_path / "merged/config.json").write_text((base / "config.json").read_text())
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="float32").eval()
    expected = logits(in_nf4(base, adapter, form, whole=True))
    plain = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype="float32"), adapter
    )
    assert torch.allclose(logits(merged), expected, atol=2e-5)
    assert not torch.allclose(logits(plain.eval()), expected, atol=1e-3)
    if kind != "dora":
        assert torch.allclose(logits(in_nf4(base, adapter, form, whole=False)), expected, atol=2e-5)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_untouched_tensors_are_in_nf4_too(base: Path, tmp_path: Path) -> None:
    """What no adapter changes is written in NF4 as well; embedding and norms are the base's bytes, and so is what
    nobody wants in NF4."""
    adapter = tiny.adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    checkpoint = open_checkpoint(base)
    made, plain = (MergedWeights(checkpoint, read_adapter(adapter), nf4=form) for form in (NF4, None))
    changed = {name for name, output in made.outputs.items() if not output.copied}
    assert changed == set(to_nf4(checkpoint.entries(), NF4))
    assert made.changed == plain.changed == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}
    for name in ("model.layers.0.self_attn.k_proj.weight", "model.norm.weight"):
        same = np.array_equal(whole_tensor(made, name), whole_tensor(plain, name))
        assert same == (name == "model.norm.weight")
    values = np.abs(whole_tensor(made, "model.layers.0.mlp.up_proj.weight").astype(np.float32)).reshape(-1, 64)
    assert all(len(numbers) <= 16 for numbers in distinct(values))
    assert json.loads((base / "config.json").read_text()).get("quantization_config") is None


def distinct(blocks: Any) -> Iterator[set[float]]:
    return ({*block.tolist()} for block in blocks)
