"""The vllm format: its variants, what it says of them, and how they are exported."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tagship.formats.registry import find_format
from tagship.formats.vllm_schemes import KL, SERVES, TOP1, how_it_was_run
from tagship.system.templating import Templates
from tagship.system.toml_reader import Reader
from tagship.weights.schemes import SCHEMES

VLLM = find_format("vllm")


def test_served_to_this_machine_alone(tmp_path: Path) -> None:
    """The compose file opens its port to nobody else, and gives vLLM the key that whoever changes that will want."""
    text = Templates(tmp_path).render("vllm/docker-compose.yml.j2", served_name="it", trust_remote_code=False)
    service = yaml.safe_load(text)["services"]["vllm"]
    assert service["ports"] == ["127.0.0.1:8000:8000"] and service["environment"] == ["VLLM_API_KEY"]


def configured(**table: Any) -> tuple[Any, list[str]]:
    """The settings that a table gives, and the mistakes in it."""
    mistakes: list[str] = []
    return VLLM.configure(Reader(table, "formats.vllm", mistakes), Reader({}, "export", [])), mistakes


def test_schemes_of_the_policy() -> None:
    """16 bits alone where nothing is said; what is no scheme, or none, is a mistake."""
    assert configured() == (configured(schemes=["bf16"])[0], [])
    settings, mistakes = configured(schemes=["w4a16", "bf16"])
    assert [variant.quant for variant in VLLM.variants(settings, ())] == ["w4a16", None] and not mistakes
    assert "schemes" in configured(schemes=["fp9"])[1][0]
    assert "is empty" in configured(schemes=[])[1][0]


def test_what_is_said_of_each() -> None:
    """Every scheme has limits, is for somebody, and is a quantization of the merged model to the Hub."""
    for variant in VLLM.variants(configured(schemes=list(SCHEMES))[0], ()):
        facts, limits = VLLM.facts(variant), VLLM.limits(variant)
        assert facts.relation == "quantized" and variant.quant in facts.tags
        assert VLLM.serves(variant).endswith(SERVES[str(variant.quant)])
        assert limits.key == f"[verify.limits.{variant.quant}]" and not limits.same_tokens
    (plain,) = VLLM.variants(configured()[0], ())
    assert VLLM.facts(plain).relation == "finetune" and VLLM.limits(plain).same_tokens
    assert KL.keys() == TOP1.keys() == SERVES.keys() == SCHEMES.keys()


@pytest.mark.parametrize(
    ("scheme", "experts", "told"),
    [
        (None, False, None),
        ("w4a16", True, "the quantized weights dequantized to float32"),
        ("fp8-dynamic", False, "rounded to FP8 token by token"),
        ("fp8-block", True, "rounded to FP8 in groups of 128, but for experts"),
    ],
)
def test_how_it_was_run(scheme: str | None, experts: bool, told: str | None) -> None:
    """Evidence says what was computed, and of what it was not."""
    said = how_it_was_run(scheme, experts=experts)
    assert said is None if told is None else str(said).endswith(told)
