"""How a run tells that its base was in 4 bits while it was trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from tagship.runs.base import BaseModel
from tagship.runs.quantized import Quantized, quantized_by
from tagship.weights.nf4_form import Nf4

BASE = "meta-llama/Llama-3.1-8B"
CONFIG = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "llm_int8_skip_modules": None,
}
SINGLE, DOUBLE = Nf4(double=False), Nf4(double=True)
# As PEFT wrote it.
CARD = """
## Training procedure

The following `bitsandbytes` quantization config was used during training:
- quant_method: QuantizationMethod.BITS_AND_BYTES
- load_in_8bit: False
- load_in_4bit: True
- llm_int8_skip_modules: ['lm_head', 'model.layers.1.mlp']
- bnb_4bit_quant_type: nf4
- bnb_4bit_use_double_quant: False
- bnb_4bit_compute_dtype: bfloat16

### Framework versions
"""
AXOLOTL = "```yaml\nadapter: qlora\nload_in_8bit: false\nload_in_4bit: true\n```\n"


def told(tmp_path: Path, recorded: Any = None, *, card: str = "", named: str = BASE, **base: Any) -> Quantized | None:
    (tmp_path / "README.md").write_text(card)
    return quantized_by(tmp_path, recorded or {}, named, BaseModel(id=BASE, **base))


@pytest.mark.parametrize(
    ("recorded", "form"),
    [
        ({"quantization_config": CONFIG}, DOUBLE),
        ({"training": {"quantization_config": CONFIG | {"bnb_4bit_use_double_quant": False}}}, SINGLE),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, SINGLE),  # as bitsandbytes' own default
        ({"load_in_4bit": True}, DOUBLE),
        ({"method": "QLoRA"}, DOUBLE),
        (
            {"quantization_config": CONFIG | {"llm_int8_skip_modules": ["lm_head"]}},
            Nf4(double=True, skipped=("lm_head",)),
        ),
    ],
)
def test_recorded_by_the_run(tmp_path: Path, recorded: dict[str, Any], form: Nf4) -> None:
    """experiment_metadata.json has bitsandbytes' configuration, or a part of it."""
    assert told(tmp_path, recorded) == Quantized(method="nf4", said_by="experiment_metadata.json", nf4=form)


def test_card_of_the_adapter(tmp_path: Path) -> None:
    """PEFT's list in README.md is read, and the settings of a trainer."""
    listed = Nf4(double=False, skipped=("lm_head", "model.layers.1.mlp"))
    assert told(tmp_path, card=CARD) == Quantized(method="nf4", said_by="README.md", nf4=listed)
    assert told(tmp_path, card=AXOLOTL) == Quantized(method="nf4", said_by="README.md", nf4=DOUBLE)
    assert told(tmp_path, card="# A model\n\nIt can be loaded with load_in_4bit=True.\n") is None


def test_policy(tmp_path: Path) -> None:
    """It says it for runs that do not say it themselves; what a run recorded of itself is so all the same."""
    assert told(tmp_path, trained_in="nf4") == Quantized(method="nf4", said_by="release.toml", nf4=SINGLE)
    assert told(tmp_path, trained_in="nf4-double") == Quantized(method="nf4", said_by="release.toml", nf4=DOUBLE)
    assert told(tmp_path, {"load_in_4bit": False}, trained_in="nf4") is None
    assert told(tmp_path, trained_in="16bit", named="unsloth/Llama-3.1-8B-bnb-4bit") is None


def test_named_base(tmp_path: Path) -> None:
    """The configuration of the model that the adapter names says it, else that model's name."""
    named = tmp_path / "base-4bit"
    named.mkdir()
    (named / "config.json").write_text(json.dumps({"quantization_config": CONFIG}))
    assert told(tmp_path, named=str(named)) == Quantized(
        method="nf4", said_by=f"the config.json of {named}", nf4=DOUBLE
    )
    (named / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    assert told(tmp_path, named=str(named)) == Quantized(method="gptq", said_by=f"the config.json of {named}")
    (named / "config.json").write_text("{}")
    assert told(tmp_path, named=str(named)) is None


def test_base_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the quantized model was fetched for the training, its own configuration is read, without its weights."""
    name = "unsloth/Llama-3.1-8B-unsloth-bnb-4bit"
    repo = tmp_path / "models--unsloth--Llama-3.1-8B-unsloth-bnb-4bit"
    (repo / "snapshots/abc").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("abc")
    config = CONFIG | {"llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp"]}
    (repo / "snapshots/abc/config.json").write_text(json.dumps({"quantization_config": config}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = told(tmp_path, named=name)
    assert found and found.nf4 == Nf4(double=True, skipped=("lm_head", "model.layers.1.mlp"))
    assert found.said_by == f"the config.json of {name}"


@pytest.mark.parametrize(
    ("name", "method", "form"),
    [("unsloth/X-bnb-4bit", "nf4", DOUBLE), ("org/X-GPTQ-Int4", "gptq", None), ("org/X-AWQ", "awq", None)],
)
def test_name_alone(tmp_path: Path, name: str, method: str, form: Nf4 | None) -> None:
    """What such repositories are called."""
    assert told(tmp_path, named=name) == Quantized(method=method, said_by=f"the name {name}", nf4=form)


@pytest.mark.parametrize(
    ("config", "method"),
    [({"load_in_8bit": True}, "int8"), ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "fp4")],
)
def test_other_methods(tmp_path: Path, config: dict[str, Any], method: str) -> None:
    """What is not simulated is known by its name."""
    assert told(tmp_path, config) == Quantized(method=method, said_by="experiment_metadata.json")


def test_nothing_says_so(tmp_path: Path) -> None:
    """A run of which nothing says that its base was quantized was trained on its weights as they are."""
    assert told(tmp_path, {"epochs": 3, "method": "lora"}) is None
