"""llama.cpp's converter as it is installed: which architectures it can be used for."""

import pytest
from tagship.gguf.llama_cpp import converter_class
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
