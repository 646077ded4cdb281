"""Matrices as they are read from a quantized model."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.dtypes import DTYPES
from tagship.weights.quantized_matrices import find_matrices
from tagship.weights.schemes import SCHEMES

from tests import tiny
from tests.weights.test_schemes import adapter, merged, model, tensors_of

NAME = "model.layers.1.self_attn.v_proj.weight"
KINDS = {"w4a16": ml_dtypes.int4, "nvfp4a16": ml_dtypes.float4_e2m1fn}


def quantized(folder: Path, scheme: str, **config: object) -> Path:
    """A model in a scheme, with its configuration."""
    (made,) = merged(model(folder / "base"), adapter(folder / "adapter"), folder / "made", scheme)
    said = {"quantization_config": SCHEMES[scheme].quantization_config(["lm_head"])}
    (made / "config.json").write_text(json.dumps({"model_type": "llama", **said, **config}))
    return made


def by_hand(folder: Path, scheme: str) -> np.ndarray:
    """What the numbers of a matrix are by the definition of its scheme, with ml_dtypes' own types of 8 and 4 bits."""
    held = {
        name.removeprefix(NAME): np.frombuffer(data, DTYPES[dtype]).reshape(shape)
        for name, (dtype, shape, data) in tensors_of(folder).items()
        if name.startswith(NAME)
    }
    scales = held["_scale"].astype(np.float64)
    if scheme in KINDS:
        codes = np.stack([held["_packed"].view(np.uint8) & 15, held["_packed"].view(np.uint8) >> 4], axis=-1)
        codes = codes.reshape(len(codes), -1)
        numbers = codes.astype(np.float64) - 8 if scheme == "w4a16" else codes.view(KINDS[scheme]).astype(np.float64)
    else:
        numbers = held[""].astype(np.float64)
    if scheme == "nvfp4a16":
        scales = scales / float(held["_global_scale"][0])
    down, across = -(-len(numbers) // len(scales)), numbers.shape[1] // scales.shape[1]
    if scheme == "fp8-block":
        down = 128
    return numbers * np.repeat(np.repeat(scales, down, axis=0), across, axis=1)[: len(numbers)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_numbers_of_a_matrix(tmp_path: Path, scheme: str) -> None:
    """They are each number times its scale, whichever rows are asked for, and near what was quantized."""
    made = quantized(tmp_path, scheme)
    matrix = find_matrices(open_checkpoint(made))[NAME]
    expected = by_hand(made, scheme)
    assert matrix.shape == expected.shape == (72, 256)
    np.testing.assert_allclose(matrix.rows(0, 72), expected, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([matrix.rows(0, 5), matrix.rows(5, 72)]), matrix.rows(0, 72))
    (plain,) = merged(tmp_path / "base", tmp_path / "adapter", tmp_path / "plain", "bf16")
    was = np.frombuffer(tensors_of(plain)[NAME][2], ml_dtypes.bfloat16).astype(np.float64).reshape(72, 256)
    error = np.linalg.norm(expected - was) / np.linalg.norm(was)
    assert 0.001 < error < (0.04 if "fp8" in scheme else 0.3)


def test_whoever_made_them(tmp_path: Path) -> None:
    """A scheme is known by what its configuration describes; others, and models that are not quantized, have none."""
    made = quantized(tmp_path, "w4a16")
    config = json.loads((made / "config.json").read_text())["quantization_config"]
    (group,) = config["config_groups"].values()
    tiny.edit_json(made / "config.json", quantization_config={**config, "config_groups": {"group_0": group}})
    assert len(find_matrices(open_checkpoint(made))) == 12
    group["weights"]["group_size"] = 64
    tiny.edit_json(made / "config.json", quantization_config={**config, "config_groups": {"group_0": group}})
    assert not find_matrices(open_checkpoint(made))
    for other in (None, "x", {"quant_method": "awq"}, {"quant_method": "compressed-tensors", "config_groups": 3}):
        tiny.edit_json(made / "config.json", quantization_config=other)
        assert not find_matrices(open_checkpoint(made))


def test_a_matrix_that_is_not_whole(tmp_path: Path) -> None:
    """A part that is missing, or another, is named."""
    made = quantized(tmp_path, "w4a16")
    (path,) = (path for path in made.glob("*.safetensors") if f"{NAME}_shape".encode() in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(f"{NAME}_shape".encode(), f"{NAME}_shapo".encode()))
    index = made / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(f"{NAME}_shape", f"{NAME}_shapo"))
    with pytest.raises(ReleaseError, match=r"has no model\.layers\.1\.self_attn\.v_proj\.weight_shape of I64"):
        find_matrices(open_checkpoint(made))
