"""sbom.cdx.json: the bill of materials, valid by the standard's own schema, and the same for the same release."""

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tagship.artifacts.manifest import FileEntry, Manifest, Part, with_evidence
from tagship.artifacts.trust.bill import BillSources, bill_of_materials
from tagship.artifacts.trust.provenance import Materials
from tagship.policy.card import CardPolicy
from tagship.runs.base_folder import BaseFolder
from tagship.verify.evidence import PASSED, Evidence, Measured
from tagship.verify.questions import Limits

from tests import tiny

FILES = (
    FileEntry(path="a folder/é.json", size=2, sha256="b" * 64),
    FileEntry(path="model.safetensors", size=3, sha256="a" * 64),
)
MEASURED = Measured(
    tokens=32, kl=0.0125, kl_error=None, kl_median=0.01, kl_99=0.1, kl_999=0.2, kl_max=0.3, rms_probability=0.01,
    top1=0.975, perplexity_ratio=1.01, perplexity_ratio_error=None,
)  # fmt: skip
EVIDENCE = Evidence(outcome=PASSED, prompts=2, same=2, answers=MEASURED, limits=Limits(kl=0.1, same_tokens=True))
SCORES = {"task": "schemas", "mean": 0.75, "standard_error": 0.25, "cases": [{}, {}]}


@pytest.fixture
def base(tmp_path: Path) -> BaseFolder:
    (tmp_path / "config.json").write_text('{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}')
    return BaseFolder(id="microsoft/Phi-3", path=tmp_path, revision="f" * 40, license="mit")


def bill(base: BaseFolder, manifest: Manifest | None = None, **card: Any) -> dict[str, Any]:
    """A bill, which the library's own validator takes."""
    said = manifest or with_evidence(
        tiny.manifest(files=FILES, tools={"numpy": "2.0.0"}, license=base.license), EVIDENCE
    )
    sources = BillSources(
        manifest=said,
        base=base,
        card=CardPolicy(**card),
        materials=Materials(run_files={"adapter_model.safetensors": "c" * 64}, inputs={}, policy="release.toml"),
        recorded_datasets=("minimal",),
    )
    text = bill_of_materials(sources)
    assert bill_of_materials(sources) == text
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return dict(json.loads(text))


def test_components(base: BaseFolder) -> None:
    """Base, adapter, data and tools are components, on which the model depends; the base is its ancestor."""
    made = bill(base, datasets=("acme/schemas",))
    by_ref = {each["bom-ref"]: each for each in made["components"]}
    assert by_ref.keys() == {"base", "adapter", "data/minimal", "data/acme/schemas", "tool/numpy"}
    assert by_ref["base"]["purl"] == f"pkg:huggingface/microsoft/Phi-3@{'f' * 40}"
    assert by_ref["data/acme/schemas"]["externalReferences"][0]["url"].endswith("/datasets/acme/schemas")
    assert by_ref["adapter"]["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    model = made["metadata"]["component"]
    assert (model["type"], model["group"], model["name"]) == ("machine-learning-model", "acme", "it")
    assert model["pedigree"]["ancestors"][0]["name"] == "Phi-3"
    assert [each["name"] for each in model["components"]] == ["a folder/é.json", "model.safetensors"]
    depends = {each["ref"]: each.get("dependsOn", []) for each in made["dependencies"]}
    assert sorted(depends["model"]) == sorted(by_ref)
    assert made["metadata"]["timestamp"].startswith("2025-09-15T12:40:51")


def test_model_card(base: BaseFolder) -> None:
    """The card says what the model is, what was measured of it, and what the policy says of it."""
    card = bill(base, intended_use="Tests.", limitations='It *knows* no "types".')["metadata"]["component"]["modelCard"]
    parameters = card["modelParameters"]
    assert (parameters["architectureFamily"], parameters["modelArchitecture"]) == ("phi3", "Phi3ForCausalLM")
    assert parameters["task"] == "text-generation" and parameters["datasets"] == [{"ref": "data/minimal"}]
    metrics = {
        each["type"]: (each["value"], each["slice"]) for each in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert metrics["mean KL divergence from base + adapter, nats"] == ("0.0125", "along answers, 32 tokens")
    assert card["considerations"] == {"useCases": ["Tests."], "technicalLimitations": ['It *knows* no "types".']}


def test_scores_at_a_task(base: BaseFolder) -> None:
    """What the models score is in it, with the interval of one standard error."""
    evidence = Evidence(outcome=PASSED, copied=True, evaluation={"export": SCORES})
    said = with_evidence(tiny.manifest(files=FILES), evidence)
    (metric,) = bill(base, said)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert (metric["value"], metric["slice"]) == ("0.75", "schemas, 2 cases, this export")
    assert metric["confidenceInterval"] == {"lowerBound": "0.5", "upperBound": "1"}


def test_nothing_is_said_that_nobody_knows(base: BaseFolder) -> None:
    """Without evidence, and without words in the policy, those parts are left out."""
    card = bill(base, tiny.manifest(files=FILES))["metadata"]["component"]["modelCard"]
    assert card.keys() == {"modelParameters"}


def test_quants_that_share_a_repo(base: BaseFolder) -> None:
    """What was measured of each is told apart."""
    parts = []
    for quant in ("q4_k_m", "q8_0"):
        alone = with_evidence(tiny.manifest(files=FILES, quant=quant), EVIDENCE)
        parts.append(Part(quant=quant, files=FILES, evidence=alone.evidence))
    made = bill(base, tiny.manifest(files=FILES, parts=tuple(parts)))
    metrics = made["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {each["slice"] for each in metrics} == {f"along answers, {quant}, 32 tokens" for quant in ("q4_k_m", "q8_0")}


@pytest.mark.parametrize(
    ("license_id", "more", "written"),
    [
        ("apache-2.0", {}, {"id": "Apache-2.0"}),
        ("cc-by-nc-4.0", {}, {"id": "CC-BY-NC-4.0"}),
        ("llama3.1", {}, {"name": "llama3.1"}),
        (
            "other",
            {"license_name": "Its License", "license_link": "https://example.org/it"},
            {"name": "Its License", "url": "https://example.org/it"},
        ),
        ("other", {"license_name": "its", "license_link": "LICENSE"}, {"name": "its"}),
    ],
)
def test_licenses(base: BaseFolder, license_id: str, more: dict[str, str], written: dict[str, str]) -> None:
    """A license has the SPDX id that the Hub's id stands for, where there is one, else its name."""
    other = BaseFolder(id=base.id, path=base.path, revision=None, license=license_id, **more)
    model = bill(other)["metadata"]["component"]
    assert model["licenses"] == [{"license": written}]


def test_number_of_its_content(base: BaseFolder) -> None:
    """Other files have a bill of another number."""
    other = tiny.manifest(files=FILES[:1])
    numbers = {bill(base)["serialNumber"], bill(base)["serialNumber"], bill(base, other)["serialNumber"]}
    assert len(numbers) == 2
