"""llama.cpp's converter as it is installed: which architectures it can be used for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tagship.gguf.architectures import check_architecture
from tagship.gguf.llama_cpp import converter_class, remote_code
from tagship.system.errors import ReleaseError

conversion = pytest.importorskip("conversion")

pytestmark = pytest.mark.slow

# Those that the library for GGUF beside the converter has no name for.
UNNAMED = {
    "HYV3ForCausalLM",
    "LagunaForCausalLM",
    "MiniMaxM3SparseForCausalLM",
    "MiniMaxM3SparseForConditionalGeneration",
    "NanbeigeForCausalLM",
    "Qwen3TTSForConditionalGeneration",
}
# Those of which it has another part than the text.
WITHOUT_TEXT = {"GraniteSpeechForConditionalGeneration", "GraniteSpeechPlusForConditionalGeneration"}


def test_every_architecture() -> None:
    """Every module of the converter can be imported, and all that it has but these can be converted."""
    refused: dict[str, str] = {}
    for architecture in conversion.TEXT_MODEL_MAP:
        try:
            assert converter_class(architecture).model_arch is not None
        except ReleaseError as error:
            assert "LLAMA_CPP_DIR" in str(error.remedy)
            refused[architecture] = str(error)
    assert {name for name, why in refused.items() if "has no name for it yet" in why} == UNNAMED
    assert {name for name, why in refused.items() if f"does not have {name}" in why} == WITHOUT_TEXT
    assert len(refused) == len(UNNAMED | WITHOUT_TEXT)


def test_unknown_architecture() -> None:
    """What the converter does not have is refused by its name."""
    with pytest.raises(ReleaseError, match="converter does not have NoSuchForCausalLM"):
        converter_class("NoSuchForCausalLM")


def refusal(ask: Callable[[Any], Any], of: Any) -> tuple[str, str | None] | None:
    try:
        ask(of)
    except ReleaseError as error:
        return str(error), error.remedy
    return None


@pytest.mark.parametrize("architecture", [*conversion.TEXT_MODEL_MAP, *conversion.MMPROJ_MODEL_MAP, "NoSuch"])
def test_what_its_source_tells(architecture: str) -> None:
    """Read from its source, every architecture is taken or refused as the converter itself does it."""
    told = refusal(check_architecture, {"architectures": [architecture]})
    assert told == refusal(converter_class, architecture)


def test_architecture_inside() -> None:
    """A model of several parts passes by any of them: which of them is converted depends on the model."""
    check_architecture({"architectures": ["Odd"], "text_config": {"architectures": ["LlamaForCausalLM"]}})
    assert refusal(check_architecture, {"architectures": ["Odd"], "text_config": {"architectures": ["Odder"]}})
    check_architecture({"architectures": []})


def test_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that LLAMA_CPP_DIR names is what counts; where it is in no form that is known, nothing is refused."""
    (tmp_path / "new/conversion").mkdir(parents=True)
    table = 'TEXT_MODEL_MAP: dict[str, str] = {"Other": "other"}'
    (tmp_path / "new/conversion/__init__.py").write_text(table, encoding="utf-8")
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "new"))
    assert refusal(check_architecture, {"architectures": ["LlamaForCausalLM"]})
    (tmp_path / "old/conversion").mkdir(parents=True)
    (tmp_path / "old/conversion/__init__.py").write_text("MODELS = {}", encoding="utf-8")
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path / "old"))
    check_architecture({"architectures": ["Odd"]})


def test_code_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the converter asks of transformers, code in a model's folder is run only where that is allowed."""
    transformers = pytest.importorskip("transformers")
    code = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    code += "from transformers import LlamaConfig\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    (tmp_path / "own.py").write_text(code)
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with remote_code(False), pytest.raises(ValueError, match="trust_remote_code"):
        transformers.AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)
    with remote_code(True):
        found = transformers.AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
    assert type(found).__name__ == "OwnConfig"
    with pytest.raises(ValueError, match="trust_remote_code"):
        transformers.AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
