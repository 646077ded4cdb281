"""The mlx format: its variants, what it says of them, and what an export holds."""

import json
from pathlib import Path
from typing import Any

import pytest
from tagship.formats.differences import NotAsExported
from tagship.formats.mlx.config import mlx_config
from tagship.formats.protocol import ExportJob
from tagship.formats.registry import find_format
from tagship.system.errors import ReleaseError
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Questions
from tagship.weights.checkpoint import INDEX_FILE, open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights

from tests import tiny
from tests.formats.jobs import job_of

pytest.importorskip("torch")

MLX = find_format("mlx")
LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 40,
}


def configured(**table: Any) -> tuple[Any, list[str]]:
    """The settings that a table gives, and the mistakes in it."""
    mistakes: list[str] = []
    return MLX.configure(Reader(table, "formats.mlx", mistakes), Reader({}, "export", [])), mistakes


def exported(
    folder: Path, quant: str, *, dtype: str = "bfloat16", said: dict[str, Any] | None = None, **table: Any
) -> tuple[ExportJob, Path]:
    """An export of a tiny model, whose configuration says this, and what it was made from."""
    base = tiny.llama(folder / "base", hidden=128, tied=True, dtype=dtype)
    if said:
        tiny.edit_json(base / "config.json", **said)
    tiny.tokenizer(base)
    settings = configured(**table)[0]
    (variant,) = MLX.variants(settings, (quant,))
    lora = tiny.adapter(base, folder / "adapter", target_modules=["q_proj", "v_proj"])
    job = job_of(base, lora, variant=variant, settings=settings)
    (made := folder / "made").mkdir()
    MLX.export([(job, made)], lambda _: None)
    return job, made


def weights_of(folder: Path) -> MergedWeights:
    base = tiny.llama(folder / "base", hidden=64)
    return MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, folder / "adapter")))


def test_variants_of_the_policy() -> None:
    """4 bits where nothing is said; the first of several has the plain folder; mistakes are noted."""
    settings, mistakes = configured()
    (only,) = MLX.variants(settings, ())
    assert (only.quant, only.kind, only.prefix, only.label) == ("4bit", "mlx", "mlx-4bit", "mlx-4bit") and not mistakes
    settings, mistakes = configured(quants=["8bit", "bf16"], group_size=32)
    assert [variant.kind for variant in MLX.variants(settings, ())] == ["mlx", "mlx_bf16"] and not mistakes
    assert [variant.label for variant in MLX.variants(settings, ("4bit",))] == ["mlx-4bit"]
    assert "quants" in configured(quants=["3bit"])[1][0]
    assert "is none that MLX has: 32, 64, 128" in configured(group_size=48)[1][0]


def test_what_is_said_of_each() -> None:
    """Every variant has limits, is for somebody, and is found as MLX's on the Hub."""
    for variant in MLX.variants(configured()[0], MLX.quants):
        facts, limits = MLX.facts(variant), MLX.limits(variant)
        assert facts.library_name == "mlx" and facts.relation == "quantized" and facts.tags[0] == "mlx"
        assert ("4-bit" in facts.tags) == (variant.quant == "4bit")
        assert limits.same_tokens == (variant.quant == "bf16") and MLX.serves(variant)


@pytest.mark.slow
@pytest.mark.parametrize("quant", MLX.quants)
def test_what_an_export_holds(tmp_path: Path, quant: str) -> None:
    """The files that mlx-lm writes, of the size that was told before."""
    job, made = exported(tmp_path, quant, group_size=32)
    foreseen = MLX.footprint(job)
    size = (made / "model.safetensors").stat().st_size
    assert foreseen.disk < size < foreseen.disk + 20_000
    config, index = (json.loads((made / name).read_text()) for name in ("config.json", INDEX_FILE))
    assert list(config) == sorted(config) and config["tie_word_embeddings"] is True
    assert index["metadata"]["total_size"] == foreseen.disk == foreseen.work
    assert index["weight_map"].keys() == open_checkpoint(made).entries().keys()
    if quant == "bf16":
        assert "quantization" not in config
    else:
        expected = {"group_size": 32, "bits": int(quant[0]), "mode": "affine"}
        assert config["quantization"] == config["quantization_config"] == expected
    subject = MLX.subject(job, made, Questions(prompts=(), moment=None, max_tokens=8))
    assert subject.model == made and (subject.how is None) == (quant == "bf16")
    tiny.edit_json(made / "config.json", rope_theta=1.0)
    with pytest.raises(NotAsExported, match="config"):
        MLX.subject(job, made, Questions(prompts=(), moment=None, max_tokens=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quant", "dtype", "said", "held"),
    [
        ("4bit", "bfloat16", "bfloat16", "BF16"),
        ("4bit", "float32", "float32", "F32"),
        ("4bit", "float32", "float16", "F16"),
        ("bf16", "float16", "float16", "BF16"),
    ],
)
def test_what_weights_are_converted_to(tmp_path: Path, quant: str, dtype: str, said: str, held: str) -> None:
    """As mlx-lm, by `torch_dtype`; bf16 says it itself. Where nothing is, config.json says what it said."""
    _, made = exported(tmp_path, quant, dtype=dtype, said={"torch_dtype": said, "dtype": said})
    assert {entry.dtype for entry in open_checkpoint(made).entries().values()} <= {held, "U32"}
    config = json.loads((made / "config.json").read_text())
    expected = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[held]
    assert config["dtype"] == config["torch_dtype"] == expected


@pytest.mark.slow
def test_how_it_is_used(tmp_path: Path) -> None:
    """By mlx-lm's programs, which know no revisions, and from Python."""
    job, made = exported(tmp_path, "4bit")
    terminal, python, server = MLX.usages(job, [path.name for path in made.iterdir()])
    assert "mlx_lm.generate --model org/title --prompt Hello" in terminal.code
    assert "mlx_lm.chat --model org/title" in terminal.code and "mlx_lm.server" in server.code
    compile(python.code, "usage", "exec")


@pytest.mark.slow
def test_positions_as_mlx_lm_reads_them(tmp_path: Path) -> None:
    """What transformers 5 writes is said by the keys that mlx-lm knows, too; what is there already stays."""
    weights = weights_of(tmp_path)
    stretched = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    made = mlx_config({**LLAMA, "rope_parameters": stretched}, {}, weights, None)
    assert made["rope_theta"] == 5e5 and made["rope_scaling"] == {**stretched, "type": "llama3"}
    made = mlx_config({**LLAMA, "rope_parameters": stretched, "rope_theta": 7.0}, {}, weights, None)
    assert made["rope_theta"] == 7.0
    kinds = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    gemma = {**LLAMA, "model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}
    made = mlx_config({**gemma, "rope_parameters": kinds}, {}, weights, None)
    assert (made["rope_theta"], made["rope_local_base_freq"], made["sliding_window_pattern"]) == (1e6, 1e4, 2)
    assert "rope_scaling" not in made


@pytest.mark.slow
def test_what_else_mlx_lm_reads(tmp_path: Path) -> None:
    """Ends of answers, whether there is a head, and no model that sees; what is missing is told."""
    weights = weights_of(tmp_path)
    said = {**LLAMA, "_name_or_path": "x", "vision_config": {}, "eos_token_id": 2}
    made = mlx_config(said, {"eos_token_id": [2, 7]}, weights, None)
    assert made["eos_token_id"] == [2, 7] and made["tie_word_embeddings"] is False
    assert not {"_name_or_path", "vision_config"} & made.keys()
    lacking = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"}
    with pytest.raises(ReleaseError, match="has no rms_norm_eps, without which mlx-lm"):
        mlx_config(lacking, {}, weights, None)


@pytest.mark.long
def test_mlx_lm_writes_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """All types of models, with mlx-lm itself where it is installed (it is no part of the dev extra)."""
    pytest.importorskip("mlx_lm")
    from bench.mlx_models import main

    with tiny.foreign_warnings():
        assert main([]) == 0, capsys.readouterr().out
