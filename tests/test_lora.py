"""LoRA adapters as PEFT saves them: which deltas they hold, and which adapters are refused by name."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ReleaseError
from pipeline.weights.checkpoint import open_checkpoint
from pipeline.weights.lora import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapter,
    AdapterConfig,
    check_fit,
    read_adapter,
    read_adapter_config,
)
from tests import tiny

A, B = "base_model.model.layer.proj.lora_A.weight", "base_model.model.layer.proj.lora_B.weight"
PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["proj"]}


def write_adapter(folder: Path, tensors: dict[str, np.ndarray[Any, Any]] | None = None, **config: Any) -> Path:
    """An adapter of rank 2 for `layer.proj.weight` of shape (3, 4), unless told otherwise."""
    plain = {A: np.ones((2, 4), np.float32), B: np.ones((3, 2), np.float32)}
    tiny.write_tensors(folder / WEIGHTS_FILE, plain if tensors is None else tensors)
    (folder / CONFIG_FILE).write_text(json.dumps(PLAIN | config), encoding="utf-8")
    return folder


def write_base(folder: Path, **tensors: np.ndarray[Any, Any]) -> Path:
    folder.mkdir()
    named = {name.replace("__", "."): array for name, array in tensors.items()}
    tiny.write_tensors(folder / "model.safetensors", named)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(ReleaseError) as caught:
        read_adapter(folder)
    return str(caught.value)


# Reading


def test_plain_adapter(tmp_path: Path) -> None:
    """A pair of A and B becomes one delta for the module's weight, scaled by alpha / rank."""
    (delta,) = read_adapter(write_adapter(tmp_path)).deltas.values()
    assert delta.tensor == "layer.proj.weight"
    assert delta.shape == (3, 4)
    assert delta.scale == 3.0
    assert (delta.a.shape, delta.b.shape) == ((2, 4), (3, 2))


def test_transposed_adapter(tmp_path: Path) -> None:
    """With fan_in_fan_out the base's tensor is (in, out)."""
    (delta,) = read_adapter(write_adapter(tmp_path, fan_in_fan_out=True)).deltas.values()
    assert delta.transposed
    assert delta.shape == (4, 3)


def test_configuration(tmp_path: Path) -> None:
    """What a release needs of adapter_config.json is read, and target_modules are sorted."""
    config = read_adapter_config(
        write_adapter(
            tmp_path,
            base_model_name_or_path="acme/base",
            revision="abc",
            lora_dropout=0.25,
            use_rslora=True,
            target_modules=["v", "a"],
            rank_pattern={"a": 8},
            alpha_pattern={"v": 1},
        )
    )
    assert config == AdapterConfig(
        base_model="acme/base",
        revision="abc",
        rank=2,
        alpha=6.0,
        rank_stabilised=True,
        rank_pattern={"a": 8},
        alpha_pattern={"v": 1},
        transposed=False,
        target_modules=("a", "v"),
        unsupported=(),
    )


def test_target_modules_as_one_pattern(tmp_path: Path) -> None:
    """target_modules may be one regular expression."""
    assert read_adapter_config(write_adapter(tmp_path, target_modules="all-linear")).target_modules == ("all-linear",)


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal", "eva", None])
def test_initialisations_that_leave_the_base_alone(tmp_path: Path, init: Any) -> None:
    """Initialisations that do not change the base weights are merged."""
    assert len(read_adapter(write_adapter(tmp_path, init_lora_weights=init)).deltas) == 1


def test_keys_that_say_nothing(tmp_path: Path) -> None:
    """Keys of PEFT's variants that are null, false or empty leave an adapter plain."""
    empty = dict.fromkeys(("bias", "modules_to_save", "kasa_config", "trainable_token_indices", "rank_pattern"))
    folder = write_adapter(tmp_path, **empty, use_dora=False, loftq_config={}, layer_replication=[])
    assert len(read_adapter(folder).deltas) == 1


# Scale


def peft_scales(base: Path, folder: Path) -> dict[str, float]:
    """The factor that PEFT itself uses for each module."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with tiny.foreign_warnings():
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="auto"), folder)
    return {
        f"{name.removeprefix('base_model.model.')}.weight": module.scaling["default"]
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"o_proj": 2, r"layers\.1\.mlp\..*": 8}},
        {"alpha_pattern": {"model.layers.0.self_attn.q_proj": 3, "proj": 5}},
        {"rank_pattern": {"k_proj": 2, "^model.layers.0.self_attn.v_proj": 16}, "alpha_pattern": {"v_proj": 32}},
        {"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"k_proj": 7}, "use_rslora": True},
        {"rank_pattern": {"proj": 2, "q_proj": 3}},
        {"rank_pattern": {"q|k_proj": 2}},
    ],
)
def test_scale_is_that_of_peft(tmp_path: Path, lora: dict[str, Any]) -> None:
    """Plain, rank-stabilised and with rank and alpha patterns, each module's factor is the one PEFT computes."""
    base = tiny.llama(tmp_path / "base")
    folder = tiny.adapter(base, tmp_path / "adapter", **lora)
    deltas = read_adapter(folder).deltas
    assert {name: delta.scale for name, delta in deltas.items()} == pytest.approx(peft_scales(base, folder), rel=1e-12)


def test_scale_by_hand(tmp_path: Path) -> None:
    """alpha / sqrt(rank) where rank-stabilised; the first pattern that fits a module's path or its end decides."""
    config = read_adapter_config(
        write_adapter(tmp_path, use_rslora=True, rank_pattern={"q": 16, "x.q": 4}, alpha_pattern={"k": 12})
    )
    assert config.scale_of("layers.0.q") == 6 / 4
    assert config.scale_of("layers.0.x.q") == 6 / 4
    assert config.scale_of("layers.0.k") == 12 / math.sqrt(2)
    assert config.scale_of("layers.0.seq") == 6 / math.sqrt(2)


# Refused


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices"),
        ({"trainable_token_indices": {"embed_tokens": [5]}}, "trainable_token_indices"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter_16"),
        ({"init_lora_weights": "OLoRA"}, "olora"),
        ({"init_lora_weights": "corda"}, "corda"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"init_lora_weights": "lora_ga"}, "lora_ga"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"use_qalora": True}, "use_qalora"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"kasa_config": {"beta": 1.0}}, "kasa_config"),
        ({"arrow_config": {"top_k": 3}}, "arrow_config"),
        ({"peft_type": "ADALORA"}, "ADALORA"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": None}, "None"),
    ],
)
def test_what_is_not_merged_is_refused_by_name(tmp_path: Path, config: dict[str, Any], named: str) -> None:
    """An adapter that is not plain LoRA is refused, the message names what it is, and the remedy another format."""
    folder = write_adapter(tmp_path, **config)
    with pytest.raises(ReleaseError, match="cannot be merged") as caught:
        read_adapter(folder)
    assert named in str(caught.value)
    assert caught.value.remedy
    assert "--format lora" in caught.value.remedy


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    """Two things that cannot be merged are both in the message."""
    message = refused(write_adapter(tmp_path, use_dora=True, bias="all"))
    assert "DoRA" in message
    assert "bias" in message


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.layer.proj.lora_magnitude_vector",
        "base_model.model.embed.lora_embedding_A",
        "base_model.model.lm_head.weight",
        "base_model.model.layer.proj.lora_B.bias",
        "base_model.model.layer.proj.lora_A.default.weight",
        "base_model.model.layer.proj.base_layer.weight",
        "layer.proj.lora_A.weight",
    ],
)
def test_left_over_tensors_are_listed(tmp_path: Path, name: str) -> None:
    """A tensor that no rule consumes is never dropped: the adapter is refused by the tensor's name."""
    tensors = {A: np.ones((2, 4), np.float32), B: np.ones((3, 2), np.float32), name: np.ones((2, 4), np.float32)}
    assert refused(write_adapter(tmp_path, tensors)).endswith(f": {name}")


def test_many_left_over_tensors_are_counted(tmp_path: Path) -> None:
    """Of many tensors that no rule consumes eight are listed and the rest is counted."""
    message = refused(write_adapter(tmp_path, {f"t{number:02}": np.ones(1, np.float32) for number in range(20)}))
    assert "t00, " in message
    assert message.endswith("t07 and 12 more")


@pytest.mark.parametrize("side", [A, B])
def test_one_side_missing(tmp_path: Path, side: str) -> None:
    """An A without its B, or a B without its A, is refused by its name."""
    shape = (2, 4) if side == A else (3, 2)
    assert refused(write_adapter(tmp_path, {side: np.ones(shape, np.float32)})).endswith(f": {side}")


@pytest.mark.parametrize(
    "a",
    [np.ones((2, 4, 1, 1), np.float32), np.ones((2, 4), np.int8), np.ones(8, np.float32)],
    ids=["4-d", "int", "1-d"],
)
def test_tensors_that_are_no_matrices_of_floats(tmp_path: Path, a: np.ndarray[Any, Any]) -> None:
    """A convolution's four dimensions, or integers, are no LoRA matrix: both sides are listed."""
    message = refused(write_adapter(tmp_path, {A: a, B: np.ones((3, 2), np.float32)}))
    assert A in message
    assert B in message


def test_adapter_without_tensors(tmp_path: Path) -> None:
    """An adapter without any tensor is refused."""
    assert refused(write_adapter(tmp_path, {})).endswith("it has none")


@pytest.mark.parametrize(("a", "b"), [((2, 4), (3, 5)), ((5, 4), (3, 5)), ((5, 4), (3, 2))])
def test_ranks_that_disagree(tmp_path: Path, a: tuple[int, int], b: tuple[int, int]) -> None:
    """A and B of different ranks, or of another rank than the configuration's, are refused by the module."""
    message = refused(write_adapter(tmp_path, {A: np.ones(a, np.float32), B: np.ones(b, np.float32)}))
    assert "layer.proj" in message
    assert "rank" in message


def test_truncated_weights(tmp_path: Path) -> None:
    """Adapter weights that were cut off are refused by the file's name."""
    path = write_adapter(tmp_path) / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-4])
    assert f"{path} is not a whole safetensors file" in refused(tmp_path)


def test_missing_weights(tmp_path: Path) -> None:
    """A configuration without weights is refused by the missing file's name."""
    (write_adapter(tmp_path) / WEIGHTS_FILE).unlink()
    assert WEIGHTS_FILE in refused(tmp_path)


def test_missing_configuration(tmp_path: Path) -> None:
    """A folder without adapter_config.json is no finished training run."""
    with pytest.raises(ReleaseError, match="no finished training run") as caught:
        read_adapter_config(tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"peft_type": "LORA", "r": 2}',
        '{"r": "two", "lora_alpha": 1}',
        '{"r": 0, "lora_alpha": 1}',
        '{"r": -2, "lora_alpha": 1}',
        '{"r": 2, "lora_alpha": null}',
        '{"r": 2, "lora_alpha": 1, "rank_pattern": 5}',
        '{"r": 2, "lora_alpha": 1, "rank_pattern": {"q": 0}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"q": "x"}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"q(": 1}}',
    ],
)
def test_broken_configuration(tmp_path: Path, text: str) -> None:
    """A configuration that is no JSON, lacks what is needed, or holds impossible numbers is refused."""
    (tmp_path / CONFIG_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ReleaseError, match="is not a PEFT adapter's configuration"):
        read_adapter_config(tmp_path)


# Fit


def fit_problem(adapter: Adapter, base: Path) -> str:
    with pytest.raises(ReleaseError, match="does not fit the base model") as caught:
        check_fit(adapter, open_checkpoint(base))
    assert caught.value.remedy
    assert "--base" in caught.value.remedy
    return str(caught.value)


def test_adapter_that_fits(tmp_path: Path) -> None:
    """An adapter whose every tensor is in the base with the right shape fits."""
    base = write_base(tmp_path / "base", layer__proj__weight=np.zeros((3, 4), np.float16))
    check_fit(read_adapter(write_adapter(tmp_path)), open_checkpoint(base))


def test_every_misfit_is_named(tmp_path: Path) -> None:
    """A missing tensor and one of another shape are both named, with both shapes."""
    other = {name.replace("proj", "other"): array for name, array in adapter_tensors().items()}
    adapter = read_adapter(write_adapter(tmp_path, adapter_tensors() | other))
    message = fit_problem(adapter, write_base(tmp_path / "base", layer__other__weight=np.zeros((4, 3), np.float32)))
    assert "layer.proj.weight is not in the base" in message
    assert "layer.other.weight is [4, 3], the adapter needs [3, 4]" in message


def adapter_tensors() -> dict[str, np.ndarray[Any, Any]]:
    return {A: np.ones((2, 4), np.float32), B: np.ones((3, 2), np.float32)}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantized_base(tmp_path: Path, dtype: Any) -> None:
    """A base whose weights are quantized is refused by the tensor and its dtype."""
    base = write_base(tmp_path / "base", layer__proj__weight=np.zeros((3, 4), dtype))
    assert "a quantized base cannot take a merge" in fit_problem(read_adapter(write_adapter(tmp_path)), base)


def test_adapter_of_another_model(tmp_path: Path) -> None:
    """A real adapter does not fit a model with another hidden size."""
    base = tiny.llama(tmp_path / "base")
    adapter = read_adapter(tiny.adapter(base, tmp_path / "adapter"))
    check_fit(adapter, open_checkpoint(base))
    message = fit_problem(adapter, tiny.llama(tmp_path / "wider", hidden=128))
    assert message.count("the adapter needs") == len(adapter.deltas)
