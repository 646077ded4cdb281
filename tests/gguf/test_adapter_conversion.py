"""An adapter's GGUF: with the base's it gives the weights of the merged model, whatever the converter does to them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.gguf.adapter_conversion import ADAPTER_QUANTS, try_adapter, write_adapter
from tagship.gguf.conversion import GgufMetadata
from tagship.gguf.header import read_gguf_header
from tagship.gguf.llama_cpp import CHECKOUT, class_for
from tagship.system.errors import ReleaseError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged

from tests import tiny

gguf = pytest.importorskip("gguf")
pytest.importorskip("conversion")
pytest.importorskip("xllamacpp")
pytest.importorskip("torch")

pytestmark = pytest.mark.slow
METADATA = GgufMetadata(general={"general.name": "tiny"}, license="mit", add_bos=None)
SCRIPT = Path(os.environ.get(CHECKOUT, "none"), "convert_lora_to_gguf.py")
Made = Callable[..., Path]


def other(kind: str, **more: Any) -> Made:
    """A model of another of transformers' classes, by the beginning of their names."""

    def make(folder: Path, *, dtype: str = tiny.BFLOAT16) -> Path:
        import transformers

        settings = {"vocab_size": tiny.VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        configured = getattr(transformers, f"{kind}Config")(**settings | {"bos_token_id": 1, "eos_token_id": 3} | more)
        return tiny._save(getattr(transformers, f"{kind}ForCausalLM"), configured, folder, dtype)

    return make


SMALL: dict[str, Any] = {"intermediate_size": 128, "num_key_value_heads": 2, "max_position_embeddings": 128}
MODELS: dict[str, Made] = {
    "llama": tiny.llama,
    "phi3": tiny.phi3,
    "gpt2": tiny.gpt2,
    "qwen2": other("Qwen2", **SMALL),
    "qwen3": other("Qwen3", **SMALL, head_dim=16),
    "gemma2": other("Gemma2", **SMALL, head_dim=16),
    "mistral": other("Mistral", **SMALL, head_dim=16),
    "bloom": other("Bloom", n_head=4, n_layer=2),
    "falcon": other("Falcon", new_decoder_architecture=True, num_kv_heads=2),
}


def weights_of(base: Path, adapter: Path) -> MergedWeights:
    return MergedWeights(open_checkpoint(base), read_adapter(adapter))


def model_folder(base: Path, folder: Path) -> Path:
    """What the converter of an adapter reads: the configuration alone."""
    folder.mkdir()
    (folder / "config.json").write_bytes((base / "config.json").read_bytes())
    return folder


def written(base: Path, adapter: Path, folder: Path, quant: str = "f32") -> Path:
    target = folder / f"adapter-{quant}.gguf"
    model = model_folder(base, folder / f"model-{quant}")
    counted: list[int] = []
    weights = weights_of(base, adapter)
    write_adapter(weights, model, {quant: target}, METADATA, counted.append)
    assert sum(counted) == sum(entry.nbytes for entry in weights.adapter.weights.tensors.values())
    return target


def tensors_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in _reader(path).tensors}


def _reader(path: Path) -> Any:
    return gguf.GGUFReader(path)


def applied(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What an adapter's GGUF adds to the weights of the base's, as llama.cpp computes it."""
    held, alpha = tensors_of(path), read_gguf_header(path).metadata["adapter.lora.alpha"]
    names = {name.removesuffix(".lora_a") for name in held if name.endswith(".lora_a")}
    assert {f"{name}.lora_{side}" for name in names for side in "ab"} == set(held)
    pairs = {name: (held[f"{name}.lora_a"], held[f"{name}.lora_b"]) for name in names}
    return {name: alpha / b.shape[-1] * (b.astype(np.float64) @ a) for name, (a, b) in pairs.items()}


def converted(model: Path, target: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors that the converter makes of a model, whose tokenizer it need not know."""
    import torch

    file_type = gguf.LlamaFileType.ALL_F32
    with torch.inference_mode():
        known = class_for(model, file_type, target)
        plain = type(known.__name__, (known,), {"model_arch": known.model_arch, "set_vocab": lambda self: None})
        plain(model, file_type, target).write()
    return tensors_of(target)


def merged_less_base(base: Path, adapter: Path, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The same by the converter's GGUFs of the merged model and of the base."""
    merged = model_folder(base, folder / "merged")
    write_merged([(weights_of(base, adapter), merged)], lambda _: None)
    one, two = converted(merged, folder / "merged.gguf"), converted(base, folder / "base.gguf")
    changed = {name: one[name].astype(np.float64) - two[name] for name in two}
    return {name: change for name, change in changed.items() if np.abs(change).max() > 0}


def check_against_merge(base: Path, adapter: Path, folder: Path) -> None:
    expected = merged_less_base(base, adapter, folder)
    found = applied(written(base, adapter, folder))
    assert found.keys() >= expected.keys() and expected
    for name, change in found.items():
        np.testing.assert_allclose(change, expected.get(name, np.zeros(())), atol=3e-6, err_msg=name)


@pytest.mark.parametrize("kind", MODELS)
def test_gives_the_merged_weights(tmp_path: Path, kind: str) -> None:
    """The GGUF of the base and what the adapter's adds are the GGUF of the merged model: rows that the converter
    permutes (Llama), matrices that it divides or keeps fused (Phi-3, Falcon), and those that it transposes (GPT-2)."""
    base = MODELS[kind](tmp_path / "base", dtype=tiny.FLOAT32)
    tiny.edit_json(base / "config.json", n_ctx=128)  # as older files of GPT-2 have it
    check_against_merge(base, tiny.adapter(base, tmp_path / "run"), tmp_path)


@pytest.mark.parametrize(
    ("lora", "alpha"),
    [
        ({"use_rslora": True, "r": 4, "lora_alpha": 8}, 16.0),
        ({"rank_pattern": {"q_proj": 2, "down_proj": 7}, "r": 4, "lora_alpha": 8}, 8.0),
        ({"alpha_pattern": {"v_proj": 3, "o_proj": 0}, "r": 4, "lora_alpha": 8}, 8.0),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 9}, "r": 4, "lora_alpha": 6}, 12.0),
        ({"r": 12, "lora_alpha": 7}, 7.0),
    ],
)
def test_scales(tmp_path: Path, lora: dict[str, Any], alpha: float) -> None:
    """Each tensor is scaled as it was trained: most by the file's alpha over their rank, others by what B has of it."""
    base = tiny.llama(tmp_path / "base", dtype=tiny.FLOAT32)
    run = tiny.adapter(base, tmp_path / "run", **lora)
    check_against_merge(base, run, tmp_path)
    assert read_gguf_header(tmp_path / "adapter-f32.gguf").metadata["adapter.lora.alpha"] == alpha


@pytest.mark.parametrize("quant", ADAPTER_QUANTS)
def test_types(tmp_path: Path, quant: str) -> None:
    """Each type is what the file has; of q8_0, rows that do not fill its blocks are f16."""
    base = tiny.llama(tmp_path / "base")
    path = written(base, tiny.adapter(base, tmp_path / "run", r=32), tmp_path, quant)
    header = read_gguf_header(path)
    assert {tensor.type_name for tensor in header.tensors} == {quant.upper()}
    said = ("general.architecture", "general.type", "adapter.type", "general.license", "general.file_type")
    assert [header.text(key) for key in said] == ["llama", "adapter", "lora", "mit", None]
    if quant == "q8_0":
        small = written(base, tiny.adapter(base, tmp_path / "small", r=4), tmp_path.joinpath("run"), quant)
        kinds = {tensor.name[-6:]: tensor.type_name for tensor in read_gguf_header(small).tensors}
        assert kinds == {"lora_a": "Q8_0", "lora_b": "F16"}


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    """Numbers that float16 would make infinite are refused by the tensor's name, and what is not finite anywhere."""
    base = tiny.llama(tmp_path / "base")
    run = tiny.adapter(base, tmp_path / "run", size=1e5)
    with pytest.raises(ReleaseError, match=r"lora_[AB]\.weight .*float16 does not hold") as caught:
        written(base, run, tmp_path, "f16")
    assert caught.value.remedy == "export it as bf16 or f32"
    assert written(base, run, tmp_path, "bf16").exists()
    assert not list(tmp_path.glob("adapter-f16.gguf"))
    wild = tiny.adapter(base, tmp_path / "wild", size=float("inf"))
    with pytest.raises(ReleaseError, match="NaN or infinity"):
        written(base, wild, tmp_path, "f32")


def test_what_the_converter_leaves_out(tmp_path: Path) -> None:
    """A change that is in no tensor of the GGUF is refused: here, of a layer that the configuration does not have."""
    base = tiny.llama(tmp_path / "base")
    run = tiny.adapter(base, tmp_path / "run")
    model = model_folder(base, tmp_path / "model")
    weights = weights_of(base, run)
    tiny.edit_json(model / "config.json", num_hidden_layers=1)
    with pytest.raises(ReleaseError):
        try_adapter(weights, model, METADATA)


def test_what_llama_cpp_passes_over(tmp_path: Path) -> None:
    """llama.cpp loads adapters of DeepSeek's latent attention and multiplies without them: they are refused."""
    latent = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {"first_k_dense_replace": 2, "n_routed_experts": 4, "moe_intermediate_size": 32, "topk_group": 1}
    base = other("DeepseekV2", **SMALL | {"num_key_value_heads": 4}, **latent, **experts, n_group=1)(tmp_path / "base")
    run = tiny.adapter(base, tmp_path / "run", target_modules=["kv_a_proj_with_mqa", "o_proj"])
    with pytest.raises(ReleaseError, match=r"passes over what an adapter changes in blk\.0\.attn_kv_a_mqa\.weight"):
        try_adapter(weights_of(base, run), model_folder(base, tmp_path / "model"), METADATA)
    plain = tiny.adapter(base, tmp_path / "plain", target_modules=["o_proj"])
    try_adapter(weights_of(base, plain), model_folder(base, tmp_path / "again"), METADATA)


@pytest.mark.long
@pytest.mark.skipif(not SCRIPT.is_file(), reason="LLAMA_CPP_DIR names no checkout of llama.cpp")
@pytest.mark.parametrize("quant", ADAPTER_QUANTS)
@pytest.mark.parametrize("kind", sorted(MODELS.keys() - {"gpt2"}))
def test_bytes_of_llama_cpp(tmp_path: Path, kind: str, quant: str) -> None:
    """Tensors are those of llama.cpp's own convert_lora_to_gguf.py, byte for byte. GPT-2 is left out: there it takes A
    and B of transposed weights the wrong way round."""
    base = MODELS[kind](tmp_path / "base")
    run = tiny.adapter(base, tmp_path / "run")
    ours, theirs = written(base, run, tmp_path, quant), tmp_path / "theirs.gguf"
    command = [sys.executable, SCRIPT, "--base", base, "--outtype", quant, "--outfile", theirs, run]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)})
    one, two = ([(t.name, t.tensor_type, t.data.tobytes()) for t in _reader(path).tensors] for path in (ours, theirs))
    assert sorted(one) == sorted(two)
