"""Numbers that no model has."""

from pathlib import Path
from typing import Any

import pytest
from tagship.runs.model_files import ModelFiles
from tagship.runs.numbers import check_numbers
from tagship.system.errors import ReleaseError

TENSORS = ["model.embed_tokens.weight", "model.layers.0.mlp.weight", "model.layers.1.mlp.weight"]
CONFIG = {"num_hidden_layers": 2, "vocab_size": 400, "num_attention_heads": [4, 8], "head_dim": None}


def files(config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelFiles:
    return ModelFiles(
        sources={"config.json": Path("config.json")},
        documents={"config.json": config, "generation_config.json": generation or {}},
    )


def test_model_as_they_are() -> None:
    """Sizes by layer, fewer layers than there are weights, and names without layers are fine."""
    check_numbers(files(CONFIG), TENSORS)
    check_numbers(files(CONFIG | {"num_hidden_layers": 1, "num_experts": 0}), TENSORS)
    check_numbers(files(CONFIG, {"eos_token_id": [1, -1], "temperature": 0.5, "do_sample": True}), ["odd"])
    check_numbers(files({"text_config": CONFIG, "vision_config": {"num_hidden_layers": 30}}), TENSORS)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**12},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 2.5},
        {"num_hidden_layers": "2"},
        {"vocab_size": 1 << 31},
        {"hidden_size": 0},
        {"num_attention_heads": [4, 10**15]},
        {"max_position_embeddings": 1e15},
        {"hidden_size": True},
    ],
)
def test_sizes_that_no_model_has(changes: dict[str, Any], inside: bool) -> None:
    """They are told by file, key and value, also of the model inside of another."""
    config = {"text_config": CONFIG | changes} if inside else CONFIG | changes
    (key,) = changes
    with pytest.raises(ReleaseError, match=rf"config\.json has {key} = .*, which no model has"):
        check_numbers(files(config), TENSORS)


def test_layers_that_are_not_there() -> None:
    """Libraries make up the weights of layers that a configuration has and the files do not."""
    with pytest.raises(ReleaseError, match=r"says 3 layers, the base model's weights are of 2"):
        check_numbers(files(CONFIG | {"num_hidden_layers": 3}), TENSORS)
    with pytest.raises(ReleaseError, match=r"says 3 layers"):
        check_numbers(files({"text_config": CONFIG | {"num_hidden_layers": 3}}), TENSORS)


@pytest.mark.parametrize("generation", [{"eos_token_id": [2, 10**30]}, {"top_k": 1 << 31}, {"temperature": 1e300}])
def test_generation_by_numbers_that_nothing_holds(generation: dict[str, Any]) -> None:
    """A number that libraries cannot hold is told where it stands."""
    with pytest.raises(ReleaseError, match=r"generation_config\.json has"):
        check_numbers(files(CONFIG, generation), TENSORS)
