"""Which architectures the converter knows, by its source."""

import sys
from pathlib import Path

import pytest
from tagship.gguf.architectures import ConverterSupport, converter_support, text_architecture
from tagship.gguf.llama_cpp import converter_class
from tagship.system.errors import ReleaseError


@pytest.mark.slow
def test_as_the_converter_says_itself() -> None:
    """For every architecture the source says what the converter, imported, does, with the same reason."""
    conversion = pytest.importorskip("conversion")
    for architecture in [*conversion.TEXT_MODEL_MAP, "NoSuchForCausalLM"]:
        problem = None
        try:
            converter_class(architecture)
        except ReleaseError as error:
            problem = str(error)
        assert converter_support(architecture) == ConverterSupport(knows=problem is None, problem=problem)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of llama.cpp, as far as it is read."""
    for name, text in {
        "conversion/__init__.py": 'TEXT_MODEL_MAP: dict = {"NewForCausalLM": "new", "LateForCausalLM": "new"}',
        "conversion/new.py": "".join(
            f'@ModelBase.register("{name}ForCausalLM")\nclass A(B):\n    model_arch = gguf.MODEL_ARCH.{name.upper()}\n'
            for name in ("New", "Late")
        ),
        "gguf-py/gguf/__init__.py": "",
        "gguf-py/gguf/constants.py": "class MODEL_ARCH(IntEnum):\n    NEW = auto()\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    return tmp_path


def test_a_checkout(checkout: Path) -> None:
    """LLAMA_CPP_DIR is read in place of what is installed."""
    assert converter_support("NewForCausalLM").knows
    assert "has no name for it yet" in str(converter_support("LateForCausalLM").problem)
    assert converter_support("LlamaForCausalLM").knows is False


def test_a_source_of_another_shape(checkout: Path) -> None:
    """Where the source is not what it was, nothing is claimed."""
    (checkout / "conversion/__init__.py").write_text("", encoding="utf-8")
    support = converter_support("NewForCausalLM")
    assert support.knows is None and "cannot be read" in str(support.problem)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a converter it is said that there is none."""
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "conversion", None)
    assert converter_support("LlamaForCausalLM").knows is None


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM"),
        ({"architectures": ["A"], "text_config": {"architectures": ["B"]}}, "B"),
        ({"architectures": ["StepVLForConditionalGeneration"], "text_config": {"architectures": ["B"]}}, None),
        ({"architectures": []}, None),
        ({}, None),
    ],
)
def test_architecture_of_the_text(config: dict[str, object], architecture: str | None) -> None:
    """The text's own architecture counts, but for those that the converter takes by the whole model's name."""
    if architecture is None and config.get("architectures"):
        architecture = "StepVLForConditionalGeneration"
    assert text_architecture(config) == architecture
