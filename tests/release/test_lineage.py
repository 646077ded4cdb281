"""How the repos of a release are related, on the Hub and in a GGUF."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tagship.formats.protocol import Lineage
from tagship.policy.config import load_config
from tagship.release.lineage import lineage_of
from tagship.release.options import Options
from tagship.release.plan import make_plan
from tagship.system.git import Repository

from tests.conftest import PHI3, GitFolder

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
VLLM, GGUF = "acme/phi3mini4k-minimal-vllm-v1.0.0", "acme/phi3mini4k-minimal-q4_k_m-gguf-v1.0.0"
LORA = "acme/phi3mini4k-minimal-lora-v1.0.0"

Lineages = Callable[..., dict[str, Lineage]]


@pytest.fixture
def lineages(project: GitFolder) -> Lineages:
    """A function that plans a release of the project, and tells the lineage of each target by its format."""

    def told(**options: Any) -> dict[str, Lineage]:
        config = load_config(project.folder / "release.toml", {})
        with Repository(config.root) as repository:
            plan = make_plan(config, Options(**options), repository, NOW)
        return {target.policy.name: lineage_of(plan, target) for target in plan.targets}

    return told


def named(lineage: Lineage) -> tuple[str, str, set[str]]:
    return lineage.parent, lineage.relation, {other.repo_id for other in lineage.relatives}


def test_family_of_a_release(project: GitFolder, lineages: Lineages) -> None:
    """The adapter and the merged model are of the base, the GGUF is the merged one quantized; each knows the others."""
    project.git("tag", "v1.0.0")
    found = lineages()
    assert named(found["lora"]) == (PHI3, "adapter", {VLLM, GGUF})
    assert named(found["vllm"]) == (PHI3, "finetune", {LORA, GGUF})
    assert named(found["ollama"]) == (VLLM, "quantized", {VLLM, LORA})


def test_part_of_a_tag(project: GitFolder, lineages: Lineages) -> None:
    """A tag's formats may be released by several commands, in CI one each: what each says is the same."""
    project.git("tag", "v1.0.0")
    assert lineages(formats=("ollama",))["ollama"] == lineages()["ollama"]
    assert lineages(formats=("lora",))["lora"] == lineages()["lora"]


def test_gguf_without_the_merged_model(project: GitFolder, lineages: Lineages) -> None:
    """Without a tag a repo has the time in its name: a GGUF that is released alone is a finetune of the base."""
    assert named(lineages(formats=("ollama",))["ollama"]) == (PHI3, "finetune", set())


def test_policy_without_the_merged_model(project: GitFolder, lineages: Lineages) -> None:
    """Where the policy has no merged model, there is none to be quantized."""
    policy: Path = project.folder / "release.toml"
    policy.write_text(policy.read_text().replace("[formats.vllm]", ""))
    assert named(lineages()["ollama"])[:2] == (PHI3, "finetune")
