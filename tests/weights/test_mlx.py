"""Weights for MLX, against what MLX made of the same, and what of a model mlx-lm has no place for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights import merged_rows, scheme_loops
from tagship.weights.affine import GROUP_SIZES, Affine
from tagship.weights.checkpoint import INDEX_FILE, open_checkpoint
from tagship.weights.dtypes import DTYPES
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.mlx_models import MODELS
from tagship.weights.mlx_tensors import as_mlx, mlx_model, quantization_of, scaling_of
from tagship.weights.quantized_matrices import find_matrices
from tagship.weights.safetensors import read_header

from tests import tiny
from tests.weights.test_schemes import KINDS, LAYER, adapter, digest, model, tensors_of

# SHA-256 of the tensors (`digest`) that MLX 0.32.4 makes of `model` merged with `adapter`, by dtype and bits:
# `test_they_are_those_of_mlx` makes them anew where MLX is installed, and bench/mlx_models.py compares whole models
# with what mlx-lm writes.
GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parents[1] / "golden/mlx.json").read_text())
EXPERTS = {f"mlp.experts.{number}.{name}_proj": (64, 256) for number in range(3) for name in ("gate", "up")} | {
    f"mlp.experts.{number}.down_proj": (256, 64) for number in range(3)
}
MOE = {name: shape for name, shape in LAYER.items() if "mlp" not in name} | EXPERTS | {"mlp.gate": (12, 256)}


def merged(base: Path, lora: Path, folder: Path, affine: Affine | None, **more: Any) -> Path:
    """What is written for MLX."""
    weights = as_mlx(MergedWeights(open_checkpoint(base), read_adapter(lora)), config_of(base), affine)
    folder.mkdir(parents=True)
    write_merged([(weights, folder)], **more)
    said = {"quantization": quantization_of(weights, mlx_model(config_of(base)), affine)} if affine else {}
    (folder / "config.json").write_text(json.dumps({**config_of(base), **said}))
    return folder


def config_of(base: Path) -> dict[str, Any]:
    return dict(json.loads((base / "config.json").read_text()))


def lora_of_attention(folder: Path) -> Path:
    return tiny.exact_lora(folder, {"model.layers.0.self_attn.q_proj": (256, 256)}, rank=2)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(data, DTYPES[dtype]).reshape(shape)
        for name, (dtype, shape, data) in tensors_of(folder).items()
    }


@pytest.mark.parametrize("loops", [True, False], ids=["c", "numpy"])
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_tensors_are_those_of_mlx(
    tmp_path: Path, bits: int, dtype: str, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, for each dtype, with the loops in C and without, and whatever rows are done at a time."""
    if not loops:
        monkeypatch.setattr(scheme_loops, "_own_loops", lambda: None)
        monkeypatch.setattr(merged_rows, "_BLOCK_BYTES", 4096)
    made = merged(model(tmp_path / "base", dtype), adapter(tmp_path / "adapter"), tmp_path / "made", Affine(bits=bits))
    assert digest(tensors_of(made)) == GOLDEN[dtype][f"{bits}bit"]


@pytest.mark.parametrize("width", GROUP_SIZES)
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_they_are_those_of_mlx(tmp_path: Path, bits: int, dtype: str, width: int) -> None:
    """By MLX itself, where it is installed (`mlx[cpu]`, which is no part of the dev extra)."""
    mx = pytest.importorskip("mlx.core")
    base, lora = model(tmp_path / "base", dtype), adapter(tmp_path / "adapter")
    plain = tensors_of(merged(base, lora, tmp_path / "plain", None))
    theirs = {}
    for name, (kind, shape, data) in plain.items():
        theirs[name] = kind, shape, data
        if len(shape) == 2 and not shape[1] % width:
            floats = np.frombuffer(data, DTYPES[kind]).reshape(shape).astype(np.float32)
            named = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}[kind]
            packed, *others = mx.quantize(mx.array(floats).astype(named), width, bits)
            theirs[name] = "U32", packed.shape, np.array(packed).tobytes()
            for part, made in zip(("scales", "biases"), others, strict=True):
                numbers = np.array(made.astype(mx.float32)).astype(DTYPES[kind])
                theirs[name.replace("weight", part)] = kind, made.shape, numbers.tobytes()
    found = tensors_of(merged(base, lora, tmp_path / "made", Affine(bits=bits, width=width)))
    assert digest(found) == digest(theirs)
    if width == 64:
        assert digest(theirs) == GOLDEN[dtype][f"{bits}bit"]


def test_plain_weights(tmp_path: Path) -> None:
    """What is not quantized are the merged weights, in files that say that they are for MLX."""
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    made = merged(base, lora, tmp_path / "made", None, max_shard=1 << 30)
    (tmp_path / "plain").mkdir()
    write_merged([(MergedWeights(open_checkpoint(base), read_adapter(lora)), tmp_path / "plain")])
    assert tensors_of(made) == tensors_of(tmp_path / "plain")
    assert b'{"format":"mlx"}' in (made / "model.safetensors").read_bytes()[:200]


@pytest.mark.parametrize("affine", [None, Affine(bits=4)], ids=["bf16", "4bit"])
@pytest.mark.parametrize("most", [1 << 30, 50_000], ids=["one file", "several"])
def test_experts_are_stacked(tmp_path: Path, affine: Affine | None, most: int) -> None:
    """One tensor has the experts of a layer, in order, whatever files they come from, and is found again."""
    base = model(tmp_path / "base", layer=MOE, model_type="qwen3_moe")
    made = merged(base, lora_of_attention(tmp_path / "lora"), tmp_path / "made", affine, max_shard=most)
    before, after = arrays_of(base), arrays_of(made)
    assert not any(".experts." in name for name in after)
    assert len(list(made.glob("*.safetensors"))) == 1 if most > 1 << 20 else len(list(made.glob("*.safetensors"))) > 1
    for layer in range(2):
        for name in ("gate_proj", "up_proj", "down_proj"):
            module = f"model.layers.{layer}.mlp.switch_mlp.{name}"
            experts = [before[f"model.layers.{layer}.mlp.experts.{number}.{name}.weight"] for number in range(3)]
            stack = after[f"{module}.weight"]
            if affine is None:
                np.testing.assert_array_equal(stack, np.stack(experts))
            else:
                assert stack.shape == (3, *experts[0].shape[:1], experts[0].shape[1] // 8)
                assert after[f"{module}.scales"].shape == (3, experts[0].shape[0], experts[0].shape[1] // 64)
    matrices = find_matrices(open_checkpoint(made))
    for name, held in matrices.items():
        was = before[name].astype(float)
        if ".experts." in name:
            assert held.shape == was.shape
            assert np.linalg.norm(held.rows(0, len(was)) - was) <= (0.15 if affine else 0) * np.linalg.norm(was)
    assert sum(".experts." in name for name in matrices) == 2 * len(EXPERTS)


def test_what_routes_to_experts_has_eight_bits(tmp_path: Path) -> None:
    """In Qwen3's mixtures, as mlx-lm has it, and config.json says so."""
    base = model(tmp_path / "base", layer=MOE, model_type="qwen3_moe")
    made = merged(base, lora_of_attention(tmp_path / "lora"), tmp_path / "made", Affine(bits=4, width=32))
    gate = "model.layers.0.mlp.gate"
    assert config_of(made)["quantization"][gate] == {"group_size": 64, "bits": 8}
    assert arrays_of(made)[f"{gate}.weight"].shape == (12, 64) and arrays_of(made)[f"{gate}.scales"].shape == (12, 4)
    matrix = find_matrices(open_checkpoint(made))[f"{gate}.weight"]
    np.testing.assert_allclose(matrix.rows(0, 12), arrays_of(base)[f"{gate}.weight"].astype(float), atol=0.01)


def test_numbers_of_a_matrix(tmp_path: Path) -> None:
    """They are each number times a scale plus a bias, whichever rows are asked for."""
    made = merged(model(tmp_path / "base"), adapter(tmp_path / "adapter"), tmp_path / "made", Affine(bits=8))
    held = arrays_of(made)
    matrix = find_matrices(open_checkpoint(made))["model.layers.1.self_attn.v_proj.weight"]
    name = "model.layers.1.self_attn.v_proj"
    codes = held[f"{name}.weight"].view(np.uint8).reshape(72, 4, 64).astype(float)
    expected = codes * held[f"{name}.scales"].astype(float)[..., None] + held[f"{name}.biases"].astype(float)[..., None]
    np.testing.assert_allclose(matrix.rows(0, 72), expected.reshape(72, 256), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(np.concatenate([matrix.rows(0, 5), matrix.rows(5, 72)]), matrix.rows(0, 72))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"group_size": 32, "bits": 4, "mode": "affine"}, "do not fit"),
        ({"group_size": 64, "bits": 3, "mode": "affine"}, "in a way that is not read here"),
        ({"group_size": 32, "bits": 4, "mode": "mxfp4"}, "in a way that is not read here"),
    ],
)
def test_what_is_quantized_otherwise(tmp_path: Path, said: Mapping[str, Any], message: str) -> None:
    """It is refused rather than read wrongly."""
    made = merged(model(tmp_path / "base"), adapter(tmp_path / "adapter"), tmp_path / "made", Affine(bits=4))
    tiny.edit_json(made / "config.json", quantization=said)
    with pytest.raises(ReleaseError, match=message):
        find_matrices(open_checkpoint(made))


def test_a_matrix_that_is_not_whole(tmp_path: Path) -> None:
    """A part that is missing is named."""
    made = merged(model(tmp_path / "base"), adapter(tmp_path / "adapter"), tmp_path / "made", Affine(bits=4))
    name = b"model.layers.1.self_attn.v_proj.biases"
    (path,) = (path for path in made.glob("*.safetensors") if name in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(name, name[:-1] + b"z"))
    index = made / INDEX_FILE
    index.write_text(index.read_text().replace(name.decode(), name.decode()[:-1] + "z"))
    with pytest.raises(ReleaseError, match=r"has no model\.layers\.1\.self_attn\.v_proj\.biases"):
        find_matrices(open_checkpoint(made))


def test_what_is_dropped(tmp_path: Path) -> None:
    """Frequencies that everybody computes, and a head that is the embedding's."""
    layer = LAYER | {"self_attn.rotary_emb.inv_freq": (64,)}
    base = model(tmp_path / "base", layer=layer, tie_word_embeddings=True)
    for shard in base.glob("*.safetensors"):  # which have no `.weight`
        shard.write_bytes(shard.read_bytes().replace(b'inv_freq.weight"', b'inv_freq"       '))
    index = base / INDEX_FILE
    index.write_text(index.read_text().replace("inv_freq.weight", "inv_freq"))
    made = merged(base, adapter(tmp_path / "adapter"), tmp_path / "made", None)
    assert tensors_of(base).keys() - tensors_of(made).keys() == {
        "lm_head.weight",
        *(f"model.layers.{number}.self_attn.rotary_emb.inv_freq" for number in range(2)),
    }


@pytest.mark.parametrize(
    ("layer", "config", "message"),
    [
        ({}, {"model_type": "gpt2"}, "for models of the type gpt2, only for llama, mistral"),
        ({}, {"rope_scaling": {"rope_type": "longrope"}}, "stretched by longrope"),
        ({}, {"model_type": "phi3"}, r"mlx-lm's phi3 has no place for model\.layers\.0\.mlp\.gate_proj\.weight"),
        ({"mlp.extra_proj": (64, 256)}, {}, r"no place for model\.layers\.0\.mlp\.extra_proj\.weight"),
        ({}, {"model_type": "gemma2", "tie_word_embeddings": False}, "no head of its own"),
        (
            {"mlp.experts.1.up_proj": (64, 256)},
            {"model_type": "qwen3_moe"},
            r"experts of model\.layers\.0\.mlp\.switch_mlp\.up_proj\.weight are not all there",
        ),
    ],
)
def test_what_mlx_lm_does_not_know(
    tmp_path: Path, layer: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], message: str
) -> None:
    """It is refused by name before anything is written, with what to do instead."""
    base = model(tmp_path / "base", layer=LAYER | layer, **config)
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter(tmp_path / "adapter")))
    with pytest.raises(ReleaseError, match=message) as refused:
        as_mlx(weights, config_of(base), Affine(bits=4))
    assert refused.value.remedy


def test_rows_that_are_no_groups(tmp_path: Path) -> None:
    """They stay in 16 bits, as mlx-lm leaves them; where nothing is left to quantize, that is said."""
    base = model(tmp_path / "base", layer=LAYER | {"self_attn.o_proj": (256, 72)})
    made = merged(base, adapter(tmp_path / "adapter"), tmp_path / "made", Affine(bits=4))
    assert tensors_of(made)["model.layers.0.self_attn.o_proj.weight"][0] == "BF16"
    weights = MergedWeights(open_checkpoint(base), read_adapter(tmp_path / "adapter"))
    kept = {name: output for name, output in weights.outputs.items() if "o_proj" in name}
    with pytest.raises(ReleaseError, match="no matrix of this model has a multiple of 64 columns"):
        as_mlx(weights.arranged(kept | {}, "pt"), config_of(base), Affine(bits=4))


@pytest.mark.parametrize("loops", [True, False], ids=["c", "numpy"])
@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0xFFC0], ids=["inf", "-inf", "nan", "-nan"])
def test_a_matrix_that_is_not_finite(tmp_path: Path, bits: int, loops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, also where no adapter touches it."""
    if not loops:
        monkeypatch.setattr(scheme_loops, "_own_loops", lambda: None)
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    shard = base / "model-00001-of-00002.safetensors"
    entry = read_header(shard).tensors["model.layers.0.mlp.up_proj.weight"]
    with shard.open("r+b") as file:
        file.seek(entry.start + 512)
        file.write(bits.to_bytes(2, "little"))
    with pytest.raises(ReleaseError, match=r"model\.layers\.0\.mlp\.up_proj\.weight holds NaN"):
        merged(base, lora, tmp_path / "made", Affine(bits=4))
    assert not list((tmp_path / "made").rglob("*.safetensors"))


def test_how_positions_are_stretched() -> None:
    """It is found where transformers 4 wrote it and where transformers 5 does, for each kind of layer."""
    assert scaling_of({"rope_scaling": None}) is None
    assert scaling_of({"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}) is None
    assert scaling_of({"rope_scaling": {"type": "su"}}) == "su"
    by_kind = {"full_attention": {"rope_type": "linear"}, "sliding_attention": {"rope_type": "default"}}
    assert scaling_of({"rope_parameters": by_kind}) == "linear"


def test_types_of_models() -> None:
    """Each knows its layers; which ones may have a bias is among them."""
    for found in MODELS.values():
        assert found.biased <= found.layer and found.eight_bits <= found.layer and found.needs
