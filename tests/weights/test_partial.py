"""Weights of which only some files are here: what is told of the others, and from what."""

import json
from pathlib import Path

import pytest
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.partial import HEADERS, LAYERS, TOTAL, Described, Spec, describe, lay_out_skeleton

HIDDEN, BETWEEN, VOCABULARY, LAYERS_OF_IT = 16, 24, 40, 3
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": BETWEEN,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
}
OF_A_LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "mlp.down_proj": (HIDDEN, BETWEEN),
    "input_layernorm": (HIDDEN,),
}
SPECS: dict[str, Spec] = {
    "model.embed_tokens.weight": ("BF16", (VOCABULARY, HIDDEN)),
    **{
        f"model.layers.{layer}.{name}.weight": ("BF16", shape)
        for layer in range(LAYERS_OF_IT)
        for name, shape in OF_A_LAYER.items()
    },
    "model.norm.weight": ("BF16", (HIDDEN,)),
    "lm_head.weight": ("BF16", (VOCABULARY, HIDDEN)),
}
SHARDS = {name: f"model-0000{1 + i % 3}-of-00003.safetensors" for i, name in enumerate(SPECS)}
TOTAL_SIZE = Described(specs=SPECS, shards=SHARDS, basis=HEADERS).nbytes
FIRST_LAYER = {name: spec for name, spec in SPECS.items() if ".0." in name}


@pytest.mark.parametrize(
    ("known", "config", "basis"),
    [
        pytest.param(SPECS, {}, HEADERS, id="all headers"),
        pytest.param(FIRST_LAYER, CONFIG, LAYERS, id="other layers, and the numbers of config.json"),
        pytest.param({}, CONFIG, LAYERS, id="config.json alone"),
        pytest.param({}, {"text_config": CONFIG}, LAYERS, id="of a model that sees"),
    ],
)
def test_what_is_told_exactly(known: dict[str, Spec], config: dict[str, object], basis: str) -> None:
    """Shapes that are not here are those of other layers and of config.json, where their sum is the index's."""
    described = describe(SHARDS, TOTAL_SIZE, known, config, {})
    assert described is not None
    assert (dict(described.specs), described.basis, described.guessed) == (SPECS, basis, ())


def test_a_sum_that_differs() -> None:
    """Where the sum is not the index's, only that sum counts, and what was not read is called guessed."""
    more = TOTAL_SIZE + 2 * 1000
    described = describe(SHARDS, more, FIRST_LAYER, CONFIG, {})
    assert described is not None
    assert (described.basis, described.nbytes // 100) == (TOTAL, more // 100)
    assert set(described.guessed) == SPECS.keys() - FIRST_LAYER.keys()


def test_nothing_but_names() -> None:
    """Without any shape, tensors have those that the adapter needs, and the others share the rest of the sum."""
    wanted = {"model.layers.1.mlp.down_proj.weight": (HIDDEN, BETWEEN)}
    described = describe(SHARDS, TOTAL_SIZE, {}, {}, wanted)
    assert described is not None and described.basis == TOTAL
    assert described.specs["model.layers.1.mlp.down_proj.weight"] == ("BF16", (HIDDEN, BETWEEN))
    assert TOTAL_SIZE - 2 * len(SPECS) < described.nbytes <= TOTAL_SIZE
    assert describe(SHARDS, None, {}, {}, wanted) is None
    assert describe(SHARDS, 10**30, {}, {}, wanted) is None  # no size of a model


@pytest.mark.parametrize(
    "odd", [{"num_key_value_heads": [1, 2]}, {"head_dim": "4"}, {"vocab_size": None}, {"vocab_size": 10**20}]
)
def test_odd_configurations(odd: dict[str, object]) -> None:
    """Numbers that are none tell no shapes."""
    described = describe(SHARDS, TOTAL_SIZE, {}, CONFIG | odd, {})
    assert described is not None and described.basis == TOTAL


def test_a_skeleton_reads_as_the_model(tmp_path: Path) -> None:
    """Files that are not here have headers and their full length, and take no room for it."""
    big = {name: (dtype, (shape[0] * 10_000, *shape[1:])) for name, (dtype, shape) in SPECS.items()}
    described = Described(specs=big, shards=SHARDS, basis=LAYERS)
    lay_out_skeleton(described, tmp_path, {})
    checkpoint = open_checkpoint(tmp_path)
    assert {name: (entry.dtype, entry.shape) for name, entry in checkpoint.entries().items()} == big
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"] == SHARDS
    files = [path.stat() for path in tmp_path.glob("*.safetensors")]
    assert sum(file.st_size for file in files) > described.nbytes > 10 * sum(file.st_blocks * 512 for file in files)
