"""Releases in 8 and 4 bits for vLLM."""

import json

import pytest

from tests.end_to_end.conftest import AT, Project


@pytest.mark.long
def test_release_in_all_schemes(project: Project) -> None:
    """Each is exported, verified by dequantizing it, told on its card and published as a quantization of the merged
    model; `matrix` has a column for each."""
    project.replace(
        "release.toml",
        "[formats.vllm]\n",
        '[formats.vllm]\nschemes = ["bf16", "fp8-dynamic", "fp8-block", "w4a16", "nvfp4a16"]\n',
    )
    project.git("commit", "--quiet", "--all", "--message=build: 8 and 4 bits")
    project.git("tag", "v1.0.0")
    done = project.invoke("release", "--format", "vllm", "--json")
    assert done.code == 0, done.stderr
    plain, *others = done.document["formats"]
    assert [entry["quant"] for entry in others] == ["fp8-dynamic", "fp8-block", "w4a16", "nvfp4a16"]
    for entry in others:
        folder = project.folder / entry["export_dir"]
        card = (folder / "README.md").read_text()
        assert f"base_model: {plain['repo_id']}\n" in card and "base_model_relation: quantized" in card
        assert f"**rounded to the nearest** in `{entry['quant']}`" in card and "nats (mean KL" in card
        evidence = json.loads((folder / "release.json").read_text())["evidence"]
        assert evidence["outcome"] == "passed"
        assert ("rounded to FP8" in evidence["runtime"]) == ("fp8" in entry["quant"])
        assert "dequantized to float32" in evidence["runtime"]
        assert 1e-4 < evidence["text"]["kl"] < 0.2
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        assert config["quant_method"] == "compressed-tensors" and "lm_head" in config["ignore"]
    matrix = project.invoke("matrix")
    assert all(f"vllm {entry['quant']}" in matrix.stdout for entry in others)


def test_scheme_that_does_not_fit(project: Project) -> None:
    """A model that a scheme cannot be made of is refused before anything is exported, with the tensor and a way out."""
    path = project.folder / "examples/avro/base/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"model_type": "gpt2"}))
    done = project.invoke("export", "--format", "vllm", "--quant", "w4a16", "--at", AT)
    assert done.code == 1 and "w4a16" in done.stderr and "[formats.vllm] schemes" in done.stderr
    assert not (project.folder / "exports").exists()
