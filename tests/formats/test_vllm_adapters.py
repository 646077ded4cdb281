"""Which adapters vLLM serves beside their base, and with which rank."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.formats.vllm_adapters import serve_line, vllm_rank, vllm_refusals
from tagship.weights.adapter_config import read_adapter_config
from tagship.weights.lora import read_weights

from tests import tiny

Q = "base_model.model.model.layers.0.self_attn.q_proj"
K = Q.replace("q_proj", "k_proj")
ONES = np.ones((4, 4), np.float32)
PAIRS = {f"{name}.{side}.weight": ONES for name in (Q, K) for side in ("lora_A", "lora_B")}


def refusals(folder: Path, *more: str, **config: Any) -> str:
    document = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(document), encoding="utf-8")
    tiny.write_tensors(folder / "adapter_model.safetensors", PAIRS | dict.fromkeys(more, ONES))
    return "; ".join(vllm_refusals(read_adapter_config(folder), read_weights(folder)))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"k_proj": 8}, "alpha_pattern": {"q_proj": 16}},
        {"modules_to_save": []},
    ],
)
def test_served(tmp_path: Path, config: dict[str, Any]) -> None:
    """Plain LoRA is served, also rank-stabilised, and with ranks and alphas by pattern."""
    assert refusals(tmp_path, **config) == ""


@pytest.mark.parametrize(
    ("config", "more", "words"),
    [
        ({"use_dora": True}, [f"{Q}.lora_magnitude_vector"], "DoRA"),
        ({}, ["base_model.model.lm_head.weight"], "modules_to_save"),
        ({"bias": "all"}, [f"{Q}.base_layer.bias"], "trained biases"),
        ({"lora_bias": True}, [f"{Q}.lora_B.bias"], "lora_bias"),
        ({}, ["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"], "token rows"),
        ({}, ["base_model.model.model.embed_tokens.lora_embedding_A"], "embeddings"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, [], "target_parameters"),
        ({"r": 1024}, [], "its rank 1024 is above 512"),
        ({"peft_type": "LOHA"}, [], "no plain LoRA"),
    ],
)
def test_not_served(tmp_path: Path, config: dict[str, Any], more: list[str], words: str) -> None:
    """What vLLM refuses is told with the reason."""
    assert words in refusals(tmp_path, *more, **config)


def test_command(tmp_path: Path) -> None:
    """The command makes room for the highest rank, in one of the steps that vLLM knows."""
    assert [vllm_rank(rank) for rank in (1, 8, 9, 16, 17, 64, 257, 512)] == [8, 8, 16, 16, 32, 64, 320, 512]
    refusals(tmp_path, rank_pattern={"k_proj": 20}, alpha_pattern={"k_proj": 40})
    line = serve_line("org/base", "run", "org/run-lora", read_adapter_config(tmp_path))
    assert line == "vllm serve org/base --enable-lora --max-lora-rank 32 --lora-modules run=org/run-lora"
