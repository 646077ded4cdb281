"""Adapters that were trained on a base in 4 bits are compared with that base, and can be merged into it."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project

RUN = Path("examples/avro/adapters") / NEWEST_RUN
CONFIG = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
LATER = "20250916-124051"
MERGE = '\n[export]\nbase = "nf4"\n'


def record(project: Project, **more: Any) -> None:
    """Have the run say more of itself."""
    path = project.folder / RUN / "experiment_metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def released(project: Project, *arguments: str, at: str = AT) -> tuple[dict[str, Any], str]:
    """The manifests of a release, by format, and what it said."""
    done = project.invoke("release", "--quick", "--at", at, "--json", *arguments)
    assert done.code == 0, done.stderr
    folders = {entry["format"]: project.folder / entry["export_dir"] for entry in done.document["formats"]}
    manifests = {name: json.loads((folder / "release.json").read_text()) for name, folder in folders.items()}
    return manifests, done.stderr


def weights_of(manifests: dict[str, Any]) -> dict[str, str]:
    """The digests of the merged weights, by file."""
    files = manifests["vllm"]["files"]
    return {file["path"]: file["sha256"] for file in files if file["path"].endswith(".safetensors")}


def same_weights(some: dict[str, Any], others: dict[str, Any]) -> bool:
    return bool(weights_of(some)) and weights_of(some) == weights_of(others)


def card(project: Project, kind: str) -> str:
    found = max((project.folder / "exports").glob(f"*-{kind}-*/README.md"))  # the newest
    return " ".join(found.read_text().split())


def test_base_that_outweighs_the_adapter(project: Project) -> None:
    """An adapter that does less than the base's rounding to 4 bits is warned of, with figures, and its card says so;
    one that does more is not."""
    record(project, quantization_config=CONFIG)
    manifests, said = released(project, "--format", "lora")
    assert "was trained on acme/phi3avro in NF4 (experiment_metadata.json)" in said and "outweighs" not in said
    found = manifests["lora"]["evidence"]["four_bit"]
    assert 0 < found["bases_kl"] < found["adapter_kl"] and found["tokens"] > 20
    assert "outweighs" not in card(project, "lora")
    weights = project.folder / RUN / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: value * 0.01 if "lora_B" in name else value for name, value in tensors.items()}, weights)
    shutil.rmtree(project.folder / "dist")  # another adapter of that name is not replaced
    project.replace("release.toml", 'repo = { untagged = "{run}-lora" }', "")
    manifests, said = released(project, "--format", "lora", at=LATER)
    found = manifests["lora"]["evidence"]["four_bit"]
    assert found["bases_kl"] > found["adapter_kl"] > 0
    assert "the base outweighs what the adapter does" in said and '[export] base = "nf4"' in said
    assert "**the base outweighs what the adapter does**" in card(project, "lora")


def test_merged_into_nf4(project: Project) -> None:
    """With `[export] base = "nf4"` the exports are made anew, of the dequantized weights; they are held against base +
    adapter in 4 bits, and what users load the adapter onto is that."""
    record(project, quantization_config=CONFIG)
    formats = ("--format", "vllm", "--format", "lora")
    plain, _ = released(project, *formats)
    assert plain["vllm"]["quantized"]["merged_into"] == "16bit"
    with (project.folder / "release.toml").open("a") as policy:
        policy.write(MERGE)
    made, said = released(project, *formats)
    assert weights_of(made).keys() == weights_of(plain).keys() and not same_weights(made, plain)
    assert "exported before" not in said
    for manifest in made.values():
        assert manifest["evidence"]["outcome"] == "passed" and "four_bit" not in manifest["evidence"]
        assert manifest["quantized"] == {
            "trained_in": "nf4",
            "said_by": "experiment_metadata.json",
            "double_quant": False,
            "skip_modules": None,
            "merged_into": "nf4",
        }
    assert made["vllm"]["evidence"]["answers"]["kl"] < 1e-4
    assert "are what those dequantize to, not the base's own" in card(project, "vllm")
    assert "belongs on the base model in 4 bits" in card(project, "lora")
    assert 'bnb_4bit_quant_type="nf4"' in card(project, "lora")
    # By the very same base and name: only how it was quantized is said otherwise.
    record(project, quantization_config=CONFIG | {"bnb_4bit_use_double_quant": True})
    double, said = released(project, "--format", "vllm")
    assert not same_weights(double, made) and "with double quantization" in said


def test_what_is_not_held_in_nf4(project: Project) -> None:
    """Merging a run into NF4 of which nothing says that it was trained on it is refused, and so is what is not
    simulated; a run on another kind of quantized base is merged as it is, and that is said."""
    policy = project.folder / "release.toml"
    before = policy.read_text()
    policy.write_text(before + MERGE)
    refused = project.invoke("export", "--format", "lora")
    assert refused.code == 1 and "was not trained on a base in NF4: nothing says so" in refused.stderr
    assert 'trained_in = "nf4"' in refused.stderr
    record(project, quantization_config={"quant_method": "gptq", "bits": 4})
    refused = project.invoke("export", "--format", "lora")
    assert refused.code == 1 and "experiment_metadata.json says gptq" in refused.stderr
    assert not (project.folder / "exports").exists()
    policy.write_text(before)
    done = project.invoke("export", "--format", "lora")
    assert done.code == 0 and "quantized by gptq (experiment_metadata.json)" in done.stderr
    record(project, quantization_config=CONFIG)
    policy.write_text(before + MERGE)
    config = project.folder / "examples/avro/base/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "gpt2"}))
    refused = project.invoke("export", "--format", "lora")
    assert refused.code == 1 and "stores its weights transposed" in refused.stderr
