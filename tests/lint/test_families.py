"""Families in names, against the architectures that models really have."""

import pytest
from tagship.lint.families import families_in, is_of


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("phi3mini4k-minimal-r32-a64-e20-20250914-132416", ["phi"]),
        ("acme/Llama-3.1-8B-Instruct-lora", ["llama"]),
        ("TinyLlama-1.1B-avro", ["llama"]),
        ("codegemma-7b", ["gemma"]),
        ("gpt-oss-20b-lora", ["gptoss"]),
        ("DeepSeek-R1-Distill-Qwen-7B", ["deepseek", "qwen"]),
        ("optimal-morphism-yield-glmnet", []),
        ("Yi-34B", ["yi"]),
        ("ollama-avro", []),
        ("avro-llamacpp", []),
        ("ollama-llama3", ["llama"]),
        ("mymodel-minimal", []),
    ],
)
def test_families_in_names(name: str, families: list[str]) -> None:
    """A family is known by its word, a short one only where it stands by itself or before a number."""
    assert families_in(name) == families


@pytest.mark.parametrize(
    ("family", "architecture", "so"),
    [
        ("phi", "phi3", True),
        ("phi", "llama", None),  # many are converted to it
        ("phi", "qwen2", False),
        ("llama", "phi3", False),
        ("llama", "mllama", True),
        ("llama", "qwen2", False),
        ("smollm", "llama", True),
        ("deepseek", "qwen2", True),
        ("deepseek", "deepseek_v3", True),
        ("mistral", "llama", None),  # a GGUF calls it so
        ("granite", "modernbert", True),
        ("qwen", "deepseek2", None),
        ("mistral", "qwen2", False),
        ("pythia", "gpt_neox", True),
        ("cohere", "command-r", True),
        ("gemma", "gemma3_text", True),
        ("llama", "somethingnew", None),
    ],
)
def test_families_of_architectures(family: str, architecture: str, so: bool | None) -> None:
    """A word is wrong for a known architecture that no model of that name has; of an unknown one nothing is said."""
    assert is_of(family, architecture) is so
