"""What llama.cpp's converter cannot do, as people are told it: with tiny real models, through the converter itself."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tagship.gguf.conversion import GgufMetadata, try_conversion, write_ggufs
from tagship.gguf.failures import UnknownSplitting, converter_errors
from tagship.system.errors import ReleaseError, ToolError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.safetensors import read_header

from tests import tiny
from tests.verify.test_processes import vision

pytest.importorskip("conversion")
pytest.importorskip("torch")

pytestmark = pytest.mark.slow
METADATA = GgufMetadata(general={"general.name": "Tiny"}, license="mit", add_bos=None)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The converter logs each tensor."""
    caplog.set_level(logging.ERROR)


def made(folder: Path, model: Callable[..., Path], **lora: Any) -> Path:
    """A model with a tokenizer, and an adapter beside it."""
    base = tiny.tokenizer(model(folder / "base"))
    tiny.adapter(base, folder / "adapter", **lora)
    return base


def gpt2(folder: Path) -> Path:
    """A GPT-2 whose configuration says what the converter asks of it."""
    tiny.gpt2(folder)
    tiny.edit_json(folder / "config.json", n_ctx=128)
    return folder


def refused(base: Path, kind: type[ReleaseError] = ToolError) -> tuple[str, str]:
    """Message and remedy, which are the same when it is only tried and when it is written."""
    weights = MergedWeights(open_checkpoint(base), read_adapter(base.parent / "adapter"))
    with pytest.raises(ReleaseError) as tried:
        try_conversion(weights, base, METADATA)
    with pytest.raises(ReleaseError) as written:
        write_ggufs(weights, base, {"q8_0": base.parent / "model.gguf"}, METADATA, lambda _: None)
    assert type(tried.value) is type(written.value) is kind
    assert str(tried.value) == str(written.value)
    assert tried.value.remedy
    return str(tried.value), tried.value.remedy


def test_tokenizer_that_it_does_not_know(tmp_path: Path) -> None:
    """How it would have to be known is told by its hash, as the converter tells it."""
    message, remedy = refused(made(tmp_path, gpt2), UnknownSplitting)
    assert "cannot convert Tiny: it does not know how the tokenizer splits text (its hash is " in message
    assert len(message.rpartition("its hash is ")[2].rstrip(")")) == 64
    assert "LLAMA_CPP_DIR" in remedy


def test_tokenizer_model_that_is_missing(tmp_path: Path) -> None:
    """A family that needs a tokenizer.model is told so, and where it comes from."""
    base = made(tmp_path, tiny.phi3)
    (base / "tokenizer.model").unlink()
    message, remedy = refused(base)
    assert "it needs a tokenizer.model" in message
    assert "fetch the base model again" in remedy


def test_tensor_without_a_place(tmp_path: Path) -> None:
    """A tensor that the architecture does not have in llama.cpp is named."""
    base = made(tmp_path, tiny.llama)
    weights = base / "model.safetensors"
    header = read_header(weights)
    tensors = {name: header.read(name).copy() for name in header.tensors}
    tiny.write_tensors(weights, tensors | {"model.layers.0.odd.weight": tensors["model.norm.weight"]})
    message, remedy = refused(base)
    assert message.endswith("it has no place for the tensor model.layers.0.odd.weight")
    assert "LLAMA_CPP_DIR" in remedy


@pytest.mark.parametrize(
    ("model", "scaling", "said"),
    [
        (tiny.phi3, {"rope_type": "ntk", "long_factor": [1.0] * 8, "short_factor": [1.0] * 8}, "ntk"),
        (tiny.phi3, {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}, "must be 8"),
        (tiny.llama, {"rope_type": "ntk", "factor": 2.0}, "'ntk'"),
    ],
)
def test_rope_scaling(tmp_path: Path, model: Callable[..., Path], scaling: dict[str, Any], said: str) -> None:
    """A scaling that it does not take is told, also where the converter only warns of it."""
    base = made(tmp_path, model)
    config = json.loads((base / "config.json").read_text())
    config.pop("rope_parameters", None)
    (base / "config.json").write_text(json.dumps(config | {"rope_scaling": scaling}))
    message, remedy = refused(base)
    assert "rope scaling" in message
    assert said in message
    assert "rope_scaling" in remedy


def test_gpt_neox(tmp_path: Path) -> None:
    """What transformers 5 calls otherwise is missed whatever config.json says, so nobody is told to add it."""

    def neox(folder: Path) -> Path:
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
        config = GPTNeoXConfig(vocab_size=tiny.VOCABULARY, tie_word_embeddings=False, **sizes)
        tiny._save(GPTNeoXForCausalLM, config, folder, tiny.BFLOAT16)
        tiny.edit_json(folder / "config.json", rotary_pct=0.25)
        return folder

    message, remedy = refused(made(tmp_path, neox))
    assert message.endswith(
        "does not convert GPT-NeoX with transformers 5, which has rotary_pct as rope_parameters.partial_rotary_factor"
    )
    assert "LLAMA_CPP_DIR" in remedy and "config.json" not in remedy


def test_more_tokens_than_rows(tmp_path: Path) -> None:
    """An assertion of the converter is told as what it means."""
    base = made(tmp_path, gpt2)
    tiny.edit_json(base / "config.json", vocab_size=300)
    message, remedy = refused(base)
    assert "more tokens than config.json's vocab_size" in message
    assert "modules_to_save" in remedy


def test_what_the_configuration_does_not_say(tmp_path: Path) -> None:
    """A key that only the converter needs is named: transformers 5 does not write GPT-2's any more."""
    message, remedy = refused(made(tmp_path, tiny.gpt2))
    assert message.endswith("it asks config.json for 'n_ctx', which is not there")
    assert "n_ctx" in remedy


def test_no_architecture(tmp_path: Path) -> None:
    """A configuration that names no class says nothing of how it is converted."""
    base = made(tmp_path, tiny.llama)
    tiny.edit_json(base / "config.json", architectures=None)
    message, remedy = refused(base)
    assert "names no architecture" in message
    assert '"architectures"' in remedy


def test_tokenizer_that_is_broken(tmp_path: Path) -> None:
    """A tokenizer that transformers cannot read is not a matter of llama.cpp's version."""
    base = made(tmp_path, gpt2)
    (base / "tokenizer.json").write_text("{}")
    message, remedy = refused(base)
    assert "tokenizer" in message
    assert "fetch the base model again" in remedy


@pytest.mark.parametrize("module", ["vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", None])
def test_what_a_gguf_does_not_hold(tmp_path: Path, module: str | None) -> None:
    """A trained part that sees is refused with the format that has it; the text alone is converted."""
    base = vision(tmp_path / "base")
    names = list(open_checkpoint(base).entries())
    seen = next(name for name in names if "vision" in name and name.endswith("q_proj.weight"))
    text = next(name for name in names if "language_model" in name and name.endswith("o_proj.weight"))
    tiny.exact_lora(tmp_path / "adapter", {(seen if module else text).removesuffix(".weight"): (32, 32)}, rank=2)
    if module is None:
        weights = MergedWeights(open_checkpoint(base), read_adapter(tmp_path / "adapter"))
        return try_conversion(weights, base, METADATA)
    message, remedy = refused(base, ReleaseError)
    assert f"would not hold what the adapter changes: {seen}" in message
    assert "text alone" in message
    assert "--format vllm" in remedy


# What takes more than a tiny model to be raised by the converter


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (ValueError("Unprocessed experts: ['a']"), "tensors are missing", "fetch the base model again"),
        (NotImplementedError("Quant method is not yet supported: 'x'"), "the base is quantized", "--base"),
        (ModuleNotFoundError("No module named 'tiktoken'", name="tiktoken.load"), "tiktoken", "pip install tiktoken"),
        (TypeError("Missing property 'model_arch'"), "TypeError: Missing property", "LLAMA_CPP_DIR"),
        (KeyError("could not find any of: ['n_ctx']"), "could not find any of", "LLAMA_CPP_DIR"),
        (FileNotFoundError("File not found: /x/tokenizer.model"), "needs a tokenizer.model", "fetch the base"),
    ],
)
def test_other_failures(error: Exception, problem: str, remedy: str) -> None:
    """Every failure has the remedy of its kind."""
    with pytest.raises(ToolError) as caught, converter_errors("Tiny"):
        raise error
    assert problem in str(caught.value)
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_not_the_converter_s(error: BaseException) -> None:
    """A full disk stays that."""
    with pytest.raises(type(error)), converter_errors("Tiny"):
        raise error


def test_refusals_stay(tmp_path: Path) -> None:
    """What was refused by name already is not told otherwise."""
    with pytest.raises(ReleaseError, match=r"^by name$"), converter_errors("Tiny"):
        raise ReleaseError("by name")
