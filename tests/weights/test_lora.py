"""LoRA adapters as PEFT saves them: what they change, and which adapters are refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE
from tagship.weights.changes import LowRank, Magnitude, TokenRows
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import Adapter, read_adapter
from tagship.weights.merge import MergedWeights

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
    """A pair of A and B becomes one change of the module's weight, scaled by alpha / rank."""
    adapter = read_adapter(write_adapter(tmp_path))
    assert not adapter.replaced
    assert adapter.parameters == ("layer.proj.weight",)
    (low,) = adapter.changes["layer.proj.weight"]
    assert isinstance(low, LowRank)
    assert low.shape == (3, 4)
    assert low.scale == 3.0
    assert (low.a.shape, low.b.shape) == ((2, 4), (3, 2))


def test_transposed_adapter(tmp_path: Path) -> None:
    """With fan_in_fan_out the base's tensor is (in, out)."""
    ((low,),) = read_adapter(write_adapter(tmp_path, fan_in_fan_out=True)).changes.values()
    assert isinstance(low, LowRank)
    assert low.transposed
    assert low.shape == (4, 3)


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal", "eva", "mica", None])
def test_initialisations_that_leave_the_base_alone(tmp_path: Path, init: Any) -> None:
    """Initialisations that do not change the base weights are merged."""
    assert len(read_adapter(write_adapter(tmp_path, init_lora_weights=init)).changes) == 1


def test_keys_that_say_nothing(tmp_path: Path) -> None:
    """Keys of PEFT's variants that are null, false or empty leave an adapter plain."""
    empty = dict.fromkeys(("bias", "modules_to_save", "kasa_config", "trainable_token_indices", "rank_pattern"))
    folder = write_adapter(tmp_path, **empty, use_dora=False, loftq_config={}, layer_replication=[])
    assert len(read_adapter(folder).changes) == 1


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
    scales = {name: low.scale for name, (low,) in read_adapter(folder).changes.items() if isinstance(low, LowRank)}
    assert scales == pytest.approx(peft_scales(base, folder), rel=1e-12)


# Refused


def test_pickled_adapter(tmp_path: Path) -> None:
    """An adapter that was pickled is refused, never loaded, and the remedy says how to convert it."""
    folder = write_adapter(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ReleaseError, match="as pickle") as caught:
        read_adapter(folder)
    assert "save_pretrained" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("config", "named"),
    [
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
        ({"kasa_config": {"beta": 1.0}}, "KaSA"),
        ({"velora_config": {"num_groups": 4}}, "VeLoRA"),
        ({"monteclora_config": {"num_samples": 8}}, "MonteCLoRA"),
        ({"init_lora_weights": "a_later_one"}, "a_later_one"),
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
    message = refused(write_adapter(tmp_path, use_qalora=True, init_lora_weights="loftq"))
    assert "QALoRA" in message
    assert "loftq" in message


@pytest.mark.parametrize("method", ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"])
def test_initialisation_that_can_be_converted(tmp_path: Path, method: str) -> None:
    """Of an initialisation that PEFT can take back, the message tells how."""
    assert "path_initial_model_for_weight_conversion" in refused(write_adapter(tmp_path, init_lora_weights=method))


OTHER_METHODS = {
    "IA3": {"feedforward_modules": ["down_proj"], "target_modules": ["k_proj"]},
    "LOHA": {"r": 8, "alpha": 8, "module_dropout": 0.0},
    "LOKR": {"r": 8, "alpha": 8, "decompose_both": False},
    "VERA": {"r": 256, "projection_prng_key": 0},
    "PROMPT_TUNING": {"num_virtual_tokens": 8, "token_dim": 64},
    "PREFIX_TUNING": {"num_virtual_tokens": 8, "encoder_hidden_size": 64},
    "P_TUNING": {"num_virtual_tokens": 8},
    "ADALORA": {"r": 8, "lora_alpha": 8, "target_r": 8, "init_r": 12},
    "TRAINABLE_TOKENS": {"token_indices": [1], "target_modules": ["embed_tokens"]},
    "XLORA": {"adapters": {}, "hidden_size": 64},
}


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_other_methods_than_lora(tmp_path: Path, method: str) -> None:
    """Another method's configuration, as PEFT writes it, without LoRA's own keys, is refused by the method's name."""
    document = {"peft_type": method, "base_model_name_or_path": "acme/base", **OTHER_METHODS[method]}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ReleaseError, match=f"cannot be merged: it is {method}, not LORA") as caught:
        read_adapter(tmp_path)
    assert caught.value.remedy


PREFIX = "base_model.model."


@pytest.mark.parametrize(
    "name",
    [
        f"{PREFIX}layer.other.lora_magnitude_vector",
        f"{PREFIX}layer.proj.lora_magnitude_vector",
        f"{PREFIX}embed.lora_embedding_A",
        f"{PREFIX}layer.other.lora_B.bias",
        f"{PREFIX}layer.proj.lora_velora_embed",
        f"{PREFIX}layer.proj.lora_diag",
        f"{PREFIX}layer.proj.lora_E",
        f"{PREFIX}embed.token_adapter.trainable_tokens_original",
        f"{PREFIX}embed.original_module.weight",
        "lm_head.weight",
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


@pytest.mark.parametrize("shape", [(), (2,), (2, 4, 1)])
@pytest.mark.parametrize(
    "names",
    [
        ("embed.lora_embedding_A", "embed.lora_embedding_B"),
        ("embed.token_adapter.trainable_tokens_delta",),
        ("proj.lora_A.weight", "proj.lora_B.weight"),
    ],
)
def test_parts_that_are_no_matrices(tmp_path: Path, names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """What should have two dimensions and has not is listed."""
    message = refused(write_adapter(tmp_path, {f"{PREFIX}{name}": np.ones(shape, np.float32) for name in names}))
    assert all(name in message for name in names)


def test_saved_module(tmp_path: Path) -> None:
    """A module that was saved whole replaces the parameter, also beside what it was before the training."""
    head = {f"{PREFIX}lm_head.{name}weight": np.full((2, 4), 1, np.float32) for name in ("", "modules_to_save.")}
    head[f"{PREFIX}lm_head.original_module.weight"] = np.zeros((2, 4), np.float32)
    adapter = read_adapter(write_adapter(tmp_path, head))
    assert {name: entry.name for name, entry in adapter.replaced.items()} == {
        "lm_head.weight": f"{PREFIX}lm_head.weight"
    }


def test_two_tensors_for_one_parameter(tmp_path: Path) -> None:
    """Two tensors that claim to be the same parameter and differ are not chosen from."""
    tensors = {f"{PREFIX}lm_head.{name}weight": np.full((2, 4), len(name), np.float32) for name in ("", "base_layer.")}
    assert refused(write_adapter(tmp_path, tensors)).endswith(f": {PREFIX}lm_head.base_layer.weight")


@pytest.mark.parametrize("suffix", ["", ".weight"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
def test_dora_magnitude(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    """DoRA's magnitude comes after the matrices, under both of its names and in older PEFT's shapes."""
    name = f"{PREFIX}layer.proj.lora_magnitude_vector{suffix}"
    folder = write_adapter(tmp_path, adapter_tensors() | {name: np.ones(shape, np.float32)}, use_dora=True)
    low, magnitude = read_adapter(folder).changes["layer.proj.weight"]
    assert isinstance(low, LowRank)
    assert isinstance(magnitude, Magnitude)
    assert magnitude.shape == (3, None)


def test_dora_magnitude_under_both_names(tmp_path: Path) -> None:
    """Of two magnitudes for one module none is dropped."""
    names = [f"{PREFIX}layer.proj.lora_magnitude_vector{suffix}" for suffix in ("", ".weight")]
    tensors = adapter_tensors() | {name: np.ones(3, np.float32) for name in names}
    assert refused(write_adapter(tmp_path, tensors, use_dora=True)).endswith(f": {names[1]}")


def test_adapter_on_an_adapter(tmp_path: Path) -> None:
    """Of two adapters on one module, one around the other, none is dropped."""
    nested = {name.replace("proj.", "proj.base_layer."): array for name, array in adapter_tensors().items()}
    message = refused(write_adapter(tmp_path, adapter_tensors() | nested))
    assert "lora_A.weight" in message
    assert "lora_B.weight" in message


def test_dora_without_magnitude(tmp_path: Path) -> None:
    """DoRA whose magnitudes are not in the file would be merged as another model."""
    assert "layer.proj has no lora_magnitude_vector" in refused(write_adapter(tmp_path, use_dora=True))


def test_tokens_lie_below_a_lora(tmp_path: Path) -> None:
    """Trained tokens of a module with a LoRA are put in first, whatever the order of the file."""
    tokens = {f"{PREFIX}layer.proj.base_layer.token_adapter.trainable_tokens_delta": np.ones((2, 4), np.float16)}
    folder = write_adapter(tmp_path, adapter_tensors() | tokens, trainable_token_indices={"proj": [0, 2]})
    rows, low = read_adapter(folder).changes["layer.proj.weight"]
    assert isinstance(rows, TokenRows)
    assert rows.indices == (0, 2)
    assert isinstance(low, LowRank)


def test_as_many_rows_as_tokens(tmp_path: Path) -> None:
    """Trained rows of another number than the configuration's tokens are refused."""
    tokens = {f"{PREFIX}embed.token_adapter.trainable_tokens_delta": np.ones((2, 4), np.float16)}
    assert "has 2 rows" in refused(write_adapter(tmp_path, tokens, trainable_token_indices={"embed": [5]}))
    assert "has 2 rows" in refused(write_adapter(tmp_path, tokens, trainable_token_indices={"a": [5, 6], "b": [7, 8]}))


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


# Fit


def fit_problem(adapter: Adapter, base: Path) -> str:
    with pytest.raises(ReleaseError, match="does not fit the base model") as caught:
        MergedWeights(open_checkpoint(base), adapter)
    assert caught.value.remedy
    assert "--base" in caught.value.remedy
    return str(caught.value)


def test_adapter_that_fits(tmp_path: Path) -> None:
    """An adapter whose every tensor is in the base with the right shape fits."""
    base = write_base(tmp_path / "base", layer__proj__weight=np.zeros((3, 4), np.float16))
    assert MergedWeights(open_checkpoint(base), read_adapter(write_adapter(tmp_path))).changed == {"layer.proj.weight"}


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
    with pytest.raises(ReleaseError, match="a quantized base cannot take a merge") as caught:
        MergedWeights(open_checkpoint(base), read_adapter(write_adapter(tmp_path)))
    assert "name the model that the base was quantized from: --base NAME" in str(caught.value.remedy)


def test_adapter_of_another_model(tmp_path: Path) -> None:
    """A real adapter does not fit a model with another hidden size."""
    base = tiny.llama(tmp_path / "base")
    adapter = read_adapter(tiny.adapter(base, tmp_path / "adapter"))
    assert MergedWeights(open_checkpoint(base), adapter).changed == set(adapter.changes)
    message = fit_problem(adapter, tiny.llama(tmp_path / "wider", hidden=128))
    assert message.count("the adapter needs") == len(adapter.changes)


def test_token_beyond_the_vocabulary(tmp_path: Path) -> None:
    """A trained token that the base has no row for is named."""
    tokens = {f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta": np.ones((2, 4), np.float16)}
    adapter = read_adapter(write_adapter(tmp_path, tokens, trainable_token_indices=[1, 3]))
    base = write_base(tmp_path / "base", model__embed_tokens__weight=np.zeros((3, 4), np.float16))
    assert "model.embed_tokens.weight has 3 rows, the adapter trained token 3" in fit_problem(adapter, base)


def test_bias_of_a_lora_without_one_in_the_base(tmp_path: Path) -> None:
    """lora_bias needs a bias to be added to, and the message says so."""
    bias = {f"{PREFIX}layer.proj.lora_B.bias": np.ones(3, np.float32)}
    adapter = read_adapter(write_adapter(tmp_path, adapter_tensors() | bias, lora_bias=True))
    base = write_base(tmp_path / "base", layer__proj__weight=np.zeros((3, 4), np.float16))
    assert "lora_bias" in fit_problem(adapter, base)


def test_quantized_base_under_other_names(tmp_path: Path) -> None:
    """A base whose quantizer renamed its weights, as GPTQ and AWQ do, is told to be quantized."""
    base = write_base(tmp_path / "base", layer__proj__qweight=np.zeros((4, 3), np.int32))
    assert "quantized" in fit_problem(read_adapter(write_adapter(tmp_path)), base)


def test_saved_module_of_another_shape(tmp_path: Path) -> None:
    """A module that was saved whole must have the base's shape: only a vocabulary may have more or fewer rows."""
    norm = {
        f"{PREFIX}model.norm.weight": np.ones(5, np.float32),
        f"{PREFIX}lm_head.weight": np.ones((7, 4), np.float32),
    }
    adapter = read_adapter(write_adapter(tmp_path, norm))
    base = write_base(
        tmp_path / "base",
        model__norm__weight=np.ones(4, np.float16),
        lm_head__weight=np.ones((6, 4), np.float16),
    )
    message = fit_problem(adapter, base)
    assert "model.norm.weight is [4], the adapter has [5] in its place" in message
    assert "lm_head" not in message


def test_saved_module_that_the_base_has_not(tmp_path: Path) -> None:
    """A saved module inside of the model that the base lacks is a misfit; a head beside it is new."""
    saved = {f"{PREFIX}{name}.weight": np.ones((2, 4), np.float32) for name in ("model.adapter", "score")}
    adapter = read_adapter(write_adapter(tmp_path, saved))
    message = fit_problem(adapter, write_base(tmp_path / "base", model__norm__weight=np.ones(4, np.float16)))
    assert "model.adapter.weight is not in the base" in message
    assert "score" not in message


def test_vocabulary_resized_on_one_side(tmp_path: Path) -> None:
    """An embedding with more rows than the head is no model: both are named."""
    saved = {f"{PREFIX}model.embed_tokens.weight": np.ones((7, 4), np.float32)}
    adapter = read_adapter(write_adapter(tmp_path, saved))
    base = write_base(
        tmp_path / "base",
        model__embed_tokens__weight=np.ones((6, 4), np.float16),
        lm_head__weight=np.ones((6, 4), np.float16),
    )
    message = fit_problem(adapter, base)
    assert "model.embed_tokens.weight would have 7 rows and lm_head.weight would have 6 rows" in message
