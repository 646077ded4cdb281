"""What a release does with names that are not so: before the base model is fetched, after, and of exports."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.lint.finding import ERROR, OK, WARN
from tagship.policy.config import load_config
from tagship.release.name_checks import check_names, lint_plan
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.steps import EXPORT_ONLY, NAMES, PUBLISH_ONLY, RELEASE
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository

from tests.conftest import POLICY, RUN, GitFolder
from tests.tiny import edit_json, write_tensors

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(project: GitFolder) -> Iterator[MakePlan]:
    """A function that plans a release of the project's run with some options, and more of a policy."""
    with Repository(project.folder) as opened:

        def planned(more: str = "", **options: Any) -> Plan:
            project.write("release.toml", POLICY + more)
            return make_plan(load_config(project.folder / "release.toml", {}), Options(**options), opened, NOW)

        yield planned


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A Phi-3 of 16 parameters."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}')
    write_tensors(tmp_path / "base/model.safetensors", {"q.weight": np.zeros((4, 4), np.float16)})
    return tmp_path / "base"


def recorded(project: GitFolder, **more: Any) -> None:
    (project.folder / "adapters" / RUN / "experiment_metadata.json").write_text(json.dumps(more))


def test_guide_s_names(plan: MakePlan, base: Path) -> None:
    """The guide's own names pass, untagged and tagged, and there is nothing to say of them."""
    assert check_names(plan()) == [] == check_names(plan(), base)


def test_guide_s_names_with_a_tag(project: GitFolder, plan: MakePlan, base: Path) -> None:
    """With a version the same holds, and each name carries that of the tag."""
    project.tag("v2.0.0", "Release")
    made = plan()
    assert check_names(made, base) == []
    versions = [finding for finding in lint_plan(made, None) if finding.field == "version"]
    assert {(finding.level, finding.said, finding.where) for finding in versions} == {(OK, "2.0.0", "the tag v2.0.0")}


def test_lie_that_is_known_before_the_base(project: GitFolder, plan: MakePlan) -> None:
    """A name that says other epochs than were recorded is refused before anything is fetched."""
    recorded(project, epochs=3)
    with pytest.raises(ReleaseError, match=r"a name says what is not so:\n.*epochs: it says 20, but") as caught:
        check_names(plan())
    assert caught.value.remedy and "invoke lint" in caught.value.remedy
    assert str(caught.value).count("epochs") == 1


def test_lies_that_the_base_shows(project: GitFolder, plan: MakePlan, base: Path) -> None:
    """Family and size are known by the base model's headers, unless its own name says the same."""
    edit_json(base / "config.json", model_type="qwen2")
    assert check_names(plan(), base) == [] == check_names(plan(base="acme/base"))
    with pytest.raises(ReleaseError, match=r"base: it says phi3mini4k, but the base model's config\.json: qwen2"):
        check_names(plan(base="acme/base"), base)


@pytest.mark.parametrize(("level", "found"), [("warn", [ERROR]), ("off", [])])
def test_policy_that_lets_lies_pass(project: GitFolder, plan: MakePlan, level: str, found: list[str]) -> None:
    """`[checks] names` makes lies a warning, or looks at no name."""
    recorded(project, epochs=3)
    findings = check_names(plan(f'[checks]\nnames = "{level}"\n'))
    assert [finding.level for finding in findings] == found


def test_half_truths_are_told(project: GitFolder, plan: MakePlan) -> None:
    """What is so of a part alone does not refuse a release, and is told."""
    edit_json(project.folder / "adapters" / RUN / "adapter_config.json", rank_pattern={"proj": 64})
    assert [(finding.level, finding.field) for finding in check_names(plan())] == [(WARN, "rank")]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"formats": ("vllm",), "repo_name": "phi3-avro-gguf"}, "it says gguf, but the plan: whole weights"),
        ({"formats": ("lora",), "repo_name": "phi3-avro-merged"}, "it says merged, but the plan: an adapter"),
        ({"formats": ("ollama",), "repo_name": "phi3-avro-q8_0-gguf"}, "it says Q8_0, but the plan: Q4_K_M"),
        ({"formats": ("vllm",), "repo_name": "phi3-avro-v3.0.0"}, "it says 3.0.0, but the plan: no version"),
    ],
)
def test_names_of_the_plan(plan: MakePlan, options: dict[str, Any], problem: str) -> None:
    """A repo's name is held against what will be in it, before there is anything."""
    with pytest.raises(ReleaseError, match=problem):
        check_names(plan(**options))


def test_exports_that_are_there(plan: MakePlan, base: Path) -> None:
    """Of an export that is there, its files are looked at: one that was put under another's name is refused."""
    made = plan(formats=("lora",))
    (target,) = made.targets
    shutil.copytree(base, target.export_dir)
    assert check_names(made, base) == []
    with pytest.raises(ReleaseError, match="it says lora, but its files: whole weights"):
        check_names(made, base, [target.export_dir])


@pytest.mark.parametrize("steps", [RELEASE, EXPORT_ONLY, PUBLISH_ONLY])
def test_before_anything_is_written(steps: tuple[Any, ...]) -> None:
    """Releasing, exporting and publishing hold names against headers before they export, verify or upload."""
    names = [step.name for step in steps]
    assert names.index("base") < names.index(NAMES.name)
    assert all(
        names.index(NAMES.name) < names.index(later) for later in ("export", "verify", "publish") if later in names
    )
