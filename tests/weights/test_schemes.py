"""Weights in the schemes of compressed-tensors, against what llm-compressor's `model_free_ptq` made of the same."""

import hashlib
import json
import math
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.weights import merge_writer, merged_rows, scheme_loops
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.low_rank import LowRankSum
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.safetensors import read_header
from tagship.weights.schemes import SCHEMES

from tests import tiny

LAYER = {
    "self_attn.q_proj": (256, 256),
    "self_attn.k_proj": (128, 256),
    "self_attn.v_proj": (72, 256),
    "mlp.gate_proj": (128, 256),
    "mlp.up_proj": (140, 256),
    "mlp.down_proj": (256, 128),
}
KINDS = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}
# SHA-256 of the tensors that llm-compressor 0.14.0.1 with compressed-tensors 0.19.0 makes of `model` merged with
# `adapter` (`tensors_of`): `bench/schemes.py` compares whole models with it.
GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parents[1] / "golden/schemes.json").read_text())


def model(folder: Path, dtype: str = "BF16", *, layer: Mapping[str, tuple[int, ...]] = LAYER, **config: Any) -> Path:
    """Two layers of a model by a formula, with large numbers here and there, zeros, and numbers that are tiny."""
    folder.mkdir(parents=True)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (40, 256), "lm_head": (40, 256)}
    shapes |= {f"model.layers.{number}.{name}": shape for number in range(2) for name, shape in layer.items()}
    shapes |= {f"model.layers.{number}.input_layernorm": (256,) for number in range(2)}
    tensors = {}
    for salt, (name, shape) in enumerate(shapes.items()):
        values = tiny.formula(shape, salt, bits=10) / np.float32(8192)
        values.reshape(-1)[::101] *= 7
        if len(shape) > 1:
            values[3] = 0
            values[5, :128] = 0
            values[7] /= 4096
            values[9, :64] = -values[9, :64] / 131072
        tensors[f"{name}.weight"] = values.astype(KINDS[dtype])
    half = len(tensors) // 2
    parts = [dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        tiny.write_tensors(folder / name, part)
    weight_map = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder


def adapter(folder: Path) -> Path:
    """One whose merge is exact, of what has a scale of scales in common with others, and of another matrix."""
    modules = {"model.layers.0.self_attn.q_proj": (256, 256), "model.layers.1.mlp.down_proj": (256, 128)}
    return tiny.exact_lora(folder, modules, rank=2)


def merged(base: Path, lora: Path, folder: Path, *schemes: str, dtype: str | None = None) -> list[Path]:
    """What is written for each scheme, from one reading, of which the digests are told; `bf16` is plain."""
    folders = [folder / scheme for scheme in schemes]
    for made in folders:
        made.mkdir(parents=True)
    weights = [
        MergedWeights(open_checkpoint(base), read_adapter(lora), dtype, scheme=SCHEMES.get(scheme))
        for scheme in schemes
    ]
    digests = write_merged(list(zip(weights, folders, strict=True)))
    assert digests == {path: sha256_of(path) for made in folders for path in made.glob("*.safetensors")}
    return folders


def tensors_of(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """All tensors in the files of a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        header = read_header(path)
        for name, entry in header.tensors.items():
            data = path.read_bytes()[entry.start : entry.end]
            found[name] = (entry.dtype, entry.shape, data)
    return found


def digest(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> str:
    """Of names, dtypes, shapes and bytes."""
    made = hashlib.sha256()
    for name, (dtype, shape, data) in sorted(tensors.items()):
        made.update(f"{name} {dtype} {shape} ".encode() + data)
    return made.hexdigest()


@pytest.mark.parametrize("loops", [True, False], ids=["c", "numpy"])
@pytest.mark.parametrize("dtype", KINDS)
def test_tensors_are_those_of_llm_compressor(
    tmp_path: Path, dtype: str, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, for each dtype, of several schemes from one reading, with the loops in C and without."""
    if not loops:
        monkeypatch.setattr(scheme_loops, "_own_loops", lambda: None)
    base, lora = model(tmp_path / "base", dtype), adapter(tmp_path / "adapter")
    made = merged(base, lora, tmp_path / "made", *SCHEMES, "bf16")
    found = {folder.name: digest(tensors_of(folder)) for folder in made}
    assert found == GOLDEN[dtype]


def test_the_largest_number_without_the_loop_in_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has one scale of scales comes out the same where joined matrices are merged for it as a whole."""
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    (looked,) = merged(base, lora, tmp_path / "looked", "nvfp4a16")
    monkeypatch.setattr(LowRankSum, "largest", lambda *_: math.inf)
    (made,) = merged(base, lora, tmp_path / "made", "nvfp4a16")
    assert digest(tensors_of(looked)) == digest(tensors_of(made)) == GOLDEN["BF16"]["nvfp4a16"]


def test_rows_in_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows end where those of scales do, whatever their size."""
    monkeypatch.setattr(merged_rows, "_BLOCK_BYTES", 4096)
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    made = merged(base, lora, tmp_path / "made", *SCHEMES)
    assert {folder.name: digest(tensors_of(folder)) for folder in made}.items() <= GOLDEN["BF16"].items()


def test_joined_matrices_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written side by side: nobody waits for the largest number before all that look for it have begun."""
    monkeypatch.setattr(merged_rows, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr(merge_writer, "_MERGED_BLOCKS", 1)
    base, lora, made = model(tmp_path / "base"), adapter(tmp_path / "adapter"), tmp_path / "made"
    made.mkdir()
    weights = MergedWeights(open_checkpoint(base), read_adapter(lora), scheme=SCHEMES["nvfp4a16"])
    writing = threading.Thread(target=write_merged, args=([(weights, made)],), kwargs={"max_shard": 1000}, daemon=True)
    writing.start()
    writing.join(60)
    assert not writing.is_alive()
    assert digest(tensors_of(made)) == GOLDEN["BF16"]["nvfp4a16"]


def test_index_and_configuration(tmp_path: Path) -> None:
    """The index names every tensor that is there, and config.json has the modules that stay as they are."""
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    (made,) = merged(base, lora, tmp_path / "made", "w4a16")
    index = json.loads((made / "model.safetensors.index.json").read_text())
    held = {path.name: set(read_header(path).tensors) for path in made.glob("*.safetensors")}
    assert {(tensor, name) for name, tensors in held.items() for tensor in tensors} == set(index["weight_map"].items())
    assert index["metadata"]["total_size"] == sum(len(data) for _, _, data in tensors_of(made).values())
    weights = MergedWeights(open_checkpoint(base), read_adapter(lora), scheme=SCHEMES["w4a16"])
    config = weights.config_changes()["quantization_config"]
    assert config["ignore"] == ["lm_head", "model.embed_tokens"]
    assert config["config_groups"]["W4A16"]["weights"]["group_size"] == 128


def test_a_matrix_that_is_not_finite(tmp_path: Path) -> None:
    """It is named, also where no adapter touches it."""
    base, lora = model(tmp_path / "base"), adapter(tmp_path / "adapter")
    shard = base / "model-00001-of-00002.safetensors"
    entry = read_header(shard).tensors["model.layers.0.mlp.up_proj.weight"]
    with shard.open("r+b") as file:
        file.seek(entry.start + 512)
        file.write(b"\xff\xff")
    for scheme in SCHEMES:
        with pytest.raises(ReleaseError, match=r"model\.layers\.0\.mlp\.up_proj\.weight holds NaN"):
            merged(base, lora, tmp_path / f"made-{scheme}", scheme)
        assert not list((tmp_path / f"made-{scheme}").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("scheme", "name", "shape", "message"),
    [
        ("w4a16", "self_attn.o_proj", (256, 192), "o_proj.weight has 192 columns, which is no multiple of 128"),
        ("nvfp4a16", "self_attn.o_proj", (256, 40), "has 40 columns, which is no multiple of 16"),
        ("fp8-block", "self_attn.k_proj", (192, 256), "k_proj.weight has 192 rows, and vLLM loads it only if"),
        ("fp8-dynamic", "mlp.experts.gate_up_proj", (10, 64, 256), "holds the experts of a layer in one tensor"),
        ("fp8-block", "mlp.experts.0.up_proj", (64, 256), "experts.0.up_proj.weight has 64 rows"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, scheme: str, name: str, shape: tuple[int, ...], message: str) -> None:
    """It is refused by name before anything is written."""
    base = model(tmp_path / "base", layer=LAYER | {name: shape})
    with pytest.raises(ReleaseError, match=message):
        MergedWeights(open_checkpoint(base), read_adapter(adapter(tmp_path / "adapter")), scheme=SCHEMES[scheme])


@pytest.mark.parametrize(
    ("name", "rows", "heads", "message"),
    [
        ("self_attn.qkv_proj", 256, {"num_attention_heads": 3, "hidden_size": 576}, None),  # of something else
        ("self_attn.qkv_proj", 512, {"num_attention_heads": 4, "hidden_size": 256}, None),
        (
            "self_attn.qkv_proj",
            512,
            {"text_config": {"num_attention_heads": 3, "head_dim": 64, "hidden_size": 1}},
            "192",
        ),
        ("self_attn.qkv_proj", 384, {"num_attention_heads": 4, "hidden_size": 256}, "64"),
        ("mlp.gate_up_proj", 256, {}, None),
        ("mlp.gate_up_proj", 384, {}, "192"),
    ],
)
def test_what_a_base_has_joined(
    tmp_path: Path, name: str, rows: int, heads: dict[str, Any], message: str | None
) -> None:
    """In blocks of rows, vLLM takes no matrix of several in which one but the last ends within a block."""
    base = model(tmp_path / "base", layer=LAYER | {name: (rows, 256)}, **heads)
    checkpoint, trained = open_checkpoint(base), read_adapter(adapter(tmp_path / "adapter"))
    MergedWeights(checkpoint, trained, scheme=SCHEMES["fp8-dynamic"])
    if message is None:
        MergedWeights(checkpoint, trained, scheme=SCHEMES["fp8-block"])
        return
    with pytest.raises(ReleaseError, match=rf"{name}\.weight joins several, one of {message} rows, and vLLM"):
        MergedWeights(checkpoint, trained, scheme=SCHEMES["fp8-block"])


def test_transposed_weights(tmp_path: Path) -> None:
    """A model of Conv1D layers has none that vLLM could load so."""
    base = model(tmp_path / "base", model_type="gpt2")
    with pytest.raises(ReleaseError, match="transposed"):
        MergedWeights(open_checkpoint(base), read_adapter(adapter(tmp_path / "adapter")), scheme=SCHEMES["fp8-dynamic"])


def test_which_tensors_stay(tmp_path: Path) -> None:
    """Routers, what sees, and the shared expert's gate are left alone; experts with a tensor each are not."""
    more = {
        "mlp.gate": (16, 256),
        "mlp.shared_expert_gate": (16, 256),
        "mlp.experts.0.gate_proj": (128, 256),
        "vision_tower.layers.0.fc1": (64, 256),
        "conv": (12, 4, 3),
    }
    base = model(tmp_path / "base", layer=LAYER | more)
    weights = MergedWeights(
        open_checkpoint(base), read_adapter(adapter(tmp_path / "adapter")), scheme=SCHEMES["fp8-dynamic"]
    )
    packed = [name for name, output in weights.outputs.items() if output.packing]
    of_layer = {name.split(".", 3)[3].removesuffix(".weight") for name in packed}
    assert of_layer == {*LAYER, "mlp.experts.0.gate_proj"}
    ignored = weights.config_changes()["quantization_config"]["ignore"]
    assert "model.layers.0.mlp.gate" in ignored and "model.layers.0.vision_tower.layers.0.fc1" in ignored


def test_loops_that_do_not_agree(tmp_path: Path) -> None:
    """They are not used; nor is what is no library."""
    (tmp_path / "libschemes.so").write_bytes(b"no library")
    assert scheme_loops.find_loops(tmp_path / "libschemes.so") is None
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    source = Path(scheme_loops.__file__).with_name("schemes.c").read_text()
    for name, text in {"right": source, "wrong": source.replace("0x40A00000", "0x409FFFFF")}.items():
        (tmp_path / f"{name}.c").write_text(text)
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", tmp_path / f"{name}.so", tmp_path / f"{name}.c"]
        subprocess.run(command, check=True)
    assert scheme_loops.find_loops(tmp_path / "right.so") is not None
    assert scheme_loops.find_loops(tmp_path / "wrong.so") is None
