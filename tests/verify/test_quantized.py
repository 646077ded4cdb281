"""Models in 8 and 4 bits in the forward pass of transformers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from tagship.formats.registry import find_format  # noqa: E402
from tagship.naming.variant import Variant  # noqa: E402
from tagship.system.toml_reader import Reader  # noqa: E402
from tagship.verify.questions import Tokens  # noqa: E402
from tagship.verify.runtimes import transformers as runtime  # noqa: E402
from tagship.verify.runtimes.protocol import Subject  # noqa: E402
from tagship.weights.checkpoint import open_checkpoint  # noqa: E402
from tagship.weights.lora import read_adapter  # noqa: E402
from tagship.weights.merge import MergedWeights  # noqa: E402
from tagship.weights.merge_writer import write_merged  # noqa: E402
from tagship.weights.quantized_matrices import find_matrices  # noqa: E402
from tagship.weights.schemes import SCHEMES  # noqa: E402

from tests import tiny  # noqa: E402
from tests.formats.jobs import job_of  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"),
]
IDS = tuple(range(5, 40))
MLX = find_format("mlx")


def made_in(folder: Path, base: Path, scheme: str) -> Path:
    """Base + adapter in a scheme, with the files that belong to it."""
    tiny.tokenizer(base)
    lora = tiny.adapter(base, folder / "adapter", target_modules=["q_proj", "v_proj"])
    weights = MergedWeights(open_checkpoint(base), read_adapter(lora), scheme=SCHEMES[scheme])
    made = folder / "made"
    shutil.copytree(base, made, ignore=shutil.ignore_patterns("*.safetensors*"))
    write_merged([(weights, made)])
    tiny.edit_json(made / "config.json", **weights.config_changes())
    return made


def logits(folder: Path, **more: Any) -> np.ndarray:
    """What the runtime gives along some tokens."""
    model = runtime.RUNTIME.load(Subject(what="it", model=folder, **more))
    try:
        return np.concatenate(list(model.rows([Tokens(ids=IDS, since=1)])))
    finally:
        model.close()


def both_ways(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[np.ndarray]:
    """The same of a model that is loaded as a whole, and module by module."""
    for small in (1 << 30, 0):
        monkeypatch.setattr(runtime, "_SMALL", small)
        yield logits(folder)


def dequantized(made: Path, folder: Path) -> Path:
    """The same model with ordinary weights in float32."""
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    matrices = find_matrices(open_checkpoint(made))
    parts = {part for matrix in matrices.values() for part in matrix.parts}
    tensors = {name: matrix.rows(0, matrix.shape[0]) for name, matrix in matrices.items()}
    for shard in open_checkpoint(made).shards:
        tensors |= {name: shard.read(name).astype(np.float32) for name in shard.tensors if name not in parts}
    tiny.write_tensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    config.pop("quantization", None)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("scheme", ["w4a16", "nvfp4a16"])
def test_weights_alone(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed is what the dequantized weights say, as a whole and module by module."""
    made = made_in(tmp_path, tiny.llama(tmp_path / "base", hidden=256), scheme)
    expected = logits(dequantized(made, tmp_path / "plain"))
    for found in both_ways(made, monkeypatch):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scheme", ["fp8-dynamic", "fp8-block"])
def test_activations_too(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What linear modules are given is rounded to FP8 as well: by hooks of the test's own on ordinary weights."""
    made = made_in(tmp_path, tiny.llama(tmp_path / "base", hidden=256), scheme)
    plain = dequantized(made, tmp_path / "plain")
    model = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    width = 128 if scheme == "fp8-block" else 0

    def rounded(module: Any, given: Any) -> Any:
        (numbers,) = given
        made = torch.empty_like(numbers)
        for at in range(0, numbers.shape[-1], width or numbers.shape[-1]):
            part = slice(at, at + (width or numbers.shape[-1]))
            scale = numbers[..., part].abs().amax(-1, keepdim=True) / 448
            made[..., part] = (numbers[..., part] / scale).to(torch.float8_e4m3fn).float() * scale
        return (made,)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(rounded)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS[:-1]])).logits[0].numpy()
    unrounded = logits(plain)
    for found in both_ways(made, monkeypatch):
        # A number beside the middle between two of FP8 may go either way.
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
        assert np.linalg.norm(found - unrounded) > 0.002 * np.linalg.norm(expected)


def made_for_mlx(folder: Path, base: Path, quant: str, **lora: Any) -> Path:
    """Base + adapter as the mlx format exports it."""
    tiny.tokenizer(base)
    job = job_of(
        base,
        tiny.adapter(base, folder / "adapter", **lora),
        variant=Variant(quant=quant, kind="mlx", prefix="mlx", label="mlx"),
        settings=MLX.configure(Reader({}, "formats.mlx", []), Reader({}, "export", [])),
    )
    (made := folder / "made").mkdir()
    MLX.export([(job, made)], lambda _: None)
    return made


@pytest.mark.parametrize("quant", ["4bit", "8bit"])
@pytest.mark.parametrize("tied", [False, True], ids=["head", "tied"])
def test_for_mlx(tmp_path: Path, quant: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding and head are dequantized, too, also where they are one matrix."""
    base = tiny.llama(tmp_path / "base", hidden=128, tied=tied)
    made = made_for_mlx(tmp_path, base, quant, target_modules=["q_proj", "v_proj"])
    names = find_matrices(open_checkpoint(made))
    assert "model.embed_tokens.weight" in names and ("lm_head.weight" in names) is not tied
    expected = logits(dequantized(made, tmp_path / "plain"))
    for found in both_ways(made, monkeypatch):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("quant", ["4bit", "bf16"])
def test_experts_for_mlx(tmp_path: Path, quant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts that are stacked are found by their names in transformers, quantized or not."""
    base = tiny.mixtral(tmp_path / "base", hidden=128, intermediate=128)
    made = made_for_mlx(tmp_path, base, quant, target_modules=["q_proj", "v_proj"])
    assert any(".switch_mlp." in name for name in open_checkpoint(made).entries())
    expected = logits(dequantized(made, tmp_path / "plain"))
    for found in both_ways(made, monkeypatch):
        assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts, of which the files have a tensor for each, are dequantized as they are loaded."""
    made = made_in(tmp_path, tiny.mixtral(tmp_path / "base", hidden=128, intermediate=128), "w4a16")
    assert any(".experts." in name for name in find_matrices(open_checkpoint(made)))
    expected = logits(dequantized(made, tmp_path / "plain"))
    for found in both_ways(made, monkeypatch):
        assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
