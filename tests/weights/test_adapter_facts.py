"""What an adapter holds, by its header and its configuration, and whether it does anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16
from tagship.weights.adapter_config import read_adapter_config
from tagship.weights.adapter_facts import AdapterFacts, adapter_facts
from tagship.weights.lora import read_weights

from tests import tiny

RANK, SIZE = 4, 8
PREFIX = "base_model.model.model"
ONES = np.ones((SIZE, RANK), np.float32)
ZEROS = np.zeros((SIZE, RANK), np.float32)

Tensors = dict[str, np.ndarray[Any, Any]]


def pair(layer: int, module: str = "self_attn.q_proj", b: np.ndarray[Any, Any] = ONES) -> Tensors:
    name = f"{PREFIX}.layers.{layer}.{module}"
    return {f"{name}.lora_A.weight": np.ones((b.shape[1], SIZE), b.dtype), f"{name}.lora_B.weight": b}


def facts(folder: Path, tensors: Tensors, **config: Any) -> AdapterFacts:
    document = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(document), encoding="utf-8")
    tiny.write_tensors(folder / "adapter_model.safetensors", tensors)
    return adapter_facts(folder, read_adapter_config(folder), read_weights(folder))


def test_what_it_holds(tmp_path: Path) -> None:
    """Numbers, size, dtype, and which modules in which layers."""
    tensors = pair(0) | pair(1) | pair(1, "mlp.down_proj")
    found = facts(tmp_path, tensors)
    assert (found.numbers, dict(found.dtypes)) == (6 * RANK * SIZE, {"F32": 6 * RANK * SIZE})
    assert found.size == (tmp_path / "adapter_model.safetensors").stat().st_size
    assert [(group.names, group.layers) for group in found.groups] == [(("q_proj",), (0, 1)), (("down_proj",), (1,))]
    assert (found.ranks, found.scales, found.pairs, found.variants) == ((RANK, RANK), (2.0, 2.0), 3, ())
    assert not found.does_nothing and found.silent == ()


@pytest.mark.parametrize(
    ("config", "more", "expected"),
    [
        ({"use_rslora": True}, {}, {"variants": ("rsLoRA",), "scales": (4.0, 4.0)}),
        (
            {"use_dora": True},
            {f"{PREFIX}.layers.0.self_attn.q_proj.lora_magnitude_vector": np.ones(SIZE, np.float32)},
            {"variants": ("DoRA",)},
        ),
        (
            {"rank_pattern": {"layers.1.self_attn.q_proj": 2}},
            pair(1, b=ONES[:, :2]),
            {"variants": ("rank_pattern",), "ranks": (2, 4), "scales": (2.0, 4.0)},
        ),
        ({"alpha_pattern": {"q_proj": 2}}, {}, {"variants": ("alpha_pattern",), "scales": (0.5, 0.5)}),
        ({}, {"base_model.model.lm_head.weight": ONES}, {"saved": ("lm_head.weight",)}),
        ({}, {f"{PREFIX}.embed_tokens.token_adapter.trainable_tokens_delta": ONES[:3]}, {"token_rows": 3}),
        ({}, {f"{PREFIX}.layers.0.self_attn.q_proj.base_layer.bias": ONES[0]}, {"biases": 1, "saved": ()}),
        ({}, {f"{PREFIX}.layers.0.self_attn.q_proj.lora_B.bias": ONES[0]}, {"lora_biases": 1}),
        ({"target_parameters": ["mlp.experts.down_proj"]}, {}, {"target_parameters": ("mlp.experts.down_proj",)}),
        ({"peft_type": "IA3"}, {}, {"peft_type": "IA3"}),
    ],
)
def test_variants(tmp_path: Path, config: dict[str, Any], more: Tensors, expected: dict[str, Any]) -> None:
    """Each variant of LoRA is told, by what the file holds where that says it."""
    found = facts(tmp_path, pair(0) | more, **config)
    assert {name: getattr(found, name) for name in expected} == expected
    assert not found.does_nothing


@pytest.mark.parametrize(
    ("b", "silent"),
    [
        (ZEROS, True),
        (-ZEROS, True),
        (ZEROS.astype(bfloat16) * -1, True),
        (-ZEROS.astype(np.float16), True),
        (np.append(np.zeros((50_000, RANK), np.float32), np.full((1, RANK), 1e-30, np.float32), axis=0), False),
        (np.full((SIZE, RANK), -1, bfloat16), False),
        (np.full((SIZE, RANK), 2.0**-126 * 2, np.float32).view(np.float32), False),
    ],
)
def test_what_it_does(tmp_path: Path, b: np.ndarray[Any, Any], silent: bool) -> None:
    """An adapter whose every lora_B is zero, of either sign, does nothing; one number anywhere is something."""
    assert facts(tmp_path, pair(0, b=b)).does_nothing is silent


def test_some_that_do_nothing(tmp_path: Path) -> None:
    """A module whose lora_B is zero is named, and so is an embedding's other side, which PEFT begins with."""
    embedding = {
        f"{PREFIX}.embed_tokens.lora_embedding_A": ZEROS.T,
        f"{PREFIX}.embed_tokens.lora_embedding_B": ONES.T,
    }
    found = facts(tmp_path, pair(0) | pair(1, b=ZEROS) | embedding)
    assert set(found.silent) == {"model.layers.1.self_attn.q_proj", "model.embed_tokens"}
    assert not found.does_nothing


def test_what_makes_up_for_zeros(tmp_path: Path) -> None:
    """A scale of zero undoes any change; a whole trained module is one whatever lora_B is."""
    assert facts(tmp_path, pair(0), lora_alpha=0).does_nothing
    assert not facts(tmp_path, pair(0, b=ZEROS) | {"base_model.model.lm_head.weight": ONES}).does_nothing
    assert not facts(tmp_path, pair(0, b=ZEROS), use_dora=True).does_nothing  # its magnitudes may


def test_too_large_to_be_read(tmp_path: Path) -> None:
    """Of zeros without an end only some MB are read, and that is said."""
    found = facts(tmp_path, pair(0, b=np.zeros((9 << 20, 1), np.float32)), r=1)
    assert (found.unread, found.silent, found.does_nothing) == (1, (), False)
