"""Properties of reading adapters: any configuration and any header is an adapter, or is refused by a ReleaseError."""

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.system.errors import ReleaseError
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import Adapter, read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import whole_tensor
from tagship.weights.safetensors import SIZES

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

numbers = st.one_of(st.integers(-2, 5), st.integers(), st.floats(), st.just(10**400))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)
patterns = st.dictionaries(
    st.one_of(st.sampled_from(["proj", "(?i)p", "p(", ".*", "^a"]), st.text(max_size=5)), numbers
)
targets = st.sampled_from(["experts.gate_up_proj", "experts.down_proj", "down_proj", "weight", "proj.weight", "."])
configs = st.fixed_dictionaries(
    {"peft_type": st.one_of(st.just("LORA"), st.just("LORA"), values)},
    optional={
        "r": st.one_of(st.just(2), numbers, values),
        "lora_alpha": st.one_of(st.just(4), numbers, values),
        "rank_pattern": st.one_of(patterns, values),
        "alpha_pattern": st.one_of(patterns, values),
        "use_dora": values,
        "use_rslora": values,
        "fan_in_fan_out": st.booleans(),
        "ensure_weight_tying": st.booleans(),
        "init_lora_weights": values,
        "target_modules": st.one_of(st.lists(st.sampled_from(["proj", "experts"])), values),
        "target_parameters": st.one_of(st.lists(targets, max_size=3), values),
        "trainable_token_indices": st.one_of(st.lists(st.integers(-1, 3)), values),
        "base_model_name_or_path": values,
        "revision": values,
    },
)
modules = st.sampled_from(
    ["proj", "layers.0.proj", "embed_tokens", "lm_head", "model.embed_tokens", "mlp.experts", "", "0"]
)
wrappers = st.sampled_from(
    ["", ".base_layer", ".base_layer.base_layer", ".token_adapter", ".original_module", ".modules_to_save", ".default"]
)
parts = st.sampled_from(
    [
        ".lora_A.weight",
        ".lora_B.weight",
        ".lora_B.bias",
        ".lora_embedding_A",
        ".lora_embedding_B",
        ".lora_magnitude_vector",
        ".lora_magnitude_vector.weight",
        ".trainable_tokens_delta",
        ".weight",
        ".bias",
        "",
    ]
)
prefixes = st.sampled_from(["base_model.model.", "base_model.model.", "base_model.", ""])
names = st.builds(lambda *pieces: "".join(pieces), prefixes, modules, wrappers, parts)
dtypes = st.one_of(st.sampled_from(["F32", "F16", "BF16", "F64"]), st.sampled_from(sorted(SIZES)))
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
tensors = st.dictionaries(st.one_of(names, st.text(max_size=6)), st.tuples(dtypes, shapes), max_size=6)


def write_weights(path: Path, held: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape) in held.items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def adapter_or_none(folder: Path) -> Adapter | None:
    try:
        return read_adapter(folder)
    except ReleaseError:
        return None


@in_one_folder
@given(text=st.one_of(st.binary(max_size=80), values.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_as_configuration(tmp_path: Path, text: bytes) -> None:
    """Any bytes and any JSON as a configuration are refused, or are one."""
    write_weights(tmp_path / WEIGHTS_FILE, {})
    (tmp_path / CONFIG_FILE).write_bytes(text)
    assert adapter_or_none(tmp_path) is None


@in_one_folder
@given(config=configs, held=tensors)
def test_any_adapter(tmp_path: Path, config: dict[str, Any], held: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """An adapter that is read accounts for every tensor of its file."""
    write_weights(tmp_path / WEIGHTS_FILE, held)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    if adapter := adapter_or_none(tmp_path):
        assert adapter.parameters
        assert set(held) == adapter.weights.tensors.keys()


plain = st.fixed_dictionaries(
    {"peft_type": st.just("LORA"), "r": st.just(2), "lora_alpha": st.just(4)},
    optional={
        "fan_in_fan_out": st.booleans(),
        "ensure_weight_tying": st.booleans(),
        "trainable_token_indices": st.lists(st.integers(0, 5), max_size=2),
        "use_dora": st.booleans(),
        "target_parameters": st.lists(targets, max_size=3),
    },
)
experts = st.sampled_from(
    ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    + [f"mlp.experts.{number}.{part}_proj.weight" for number in (0, 1) for part in ("gate", "up", "down")]
)
lengths = st.sampled_from([2, 2, 3, 4])
matrices = st.tuples(
    st.sampled_from(["F32", "F16"]), st.one_of(st.tuples(lengths, lengths), st.tuples(lengths), shapes)
)


@in_one_folder
@given(
    config=plain,
    held=st.dictionaries(names, matrices, min_size=1, max_size=6),
    base=st.dictionaries(
        st.one_of(st.builds(lambda *pieces: "".join(pieces), modules, parts), experts), matrices, max_size=5
    ),
    tied=st.sampled_from([True, False, None, 5]),
)
def test_any_adapter_and_any_base(
    tmp_path: Path, config: dict[str, Any], held: dict[str, Any], base: dict[str, Any], tied: Any
) -> None:
    """An adapter fits a base or is refused; what fits has all tensors of the base, and no change of another shape,
    and is merged or refused, as zeros that DoRA gives a norm are."""
    write_weights(tmp_path / WEIGHTS_FILE, held)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    write_weights(tmp_path / "model.safetensors", base)
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}), encoding="utf-8")
    adapter = adapter_or_none(tmp_path)
    if adapter is None:
        return
    try:
        weights = MergedWeights(open_checkpoint(tmp_path), adapter)
    except ReleaseError:
        return
    assert base.keys() <= weights.outputs.keys()
    assert weights.changed <= weights.outputs.keys()
    for output in weights.outputs.values():
        for change in output.changes:
            assert all(size in (None, held) for size, held in zip(change.shape, output.shape, strict=True))
        with suppress(ReleaseError):
            assert whole_tensor(weights, output.name).shape == output.shape
