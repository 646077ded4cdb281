"""The version before a release, as its card links to it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tagship.naming.tags import read_tag
from tagship.policy.config import load_config
from tagship.release.options import Options
from tagship.release.plan import make_plan
from tagship.release.results import Noted
from tagship.release.version_before import named_otherwise, page_before, repo_before, repos_before
from tagship.system.git import Repository

from tests.conftest import POLICY, GitFolder

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
SHORT = "acme/phi3mini4k-minimal"
PER_MODEL = POLICY.replace("[formats.vllm]", '[hub]\nlayout = "repo-per-model"\n[formats.vllm]')

Pages = Callable[[str, str], dict[str, str | None]]


@pytest.fixture
def pages(project: GitFolder) -> Pages:
    """A function that tags v1.0.0 by one policy and plans v2.0.0 by another: where each format's card leads."""

    def told(first: str, second: str) -> dict[str, str | None]:
        for tag, policy in (("v1.0.0", first), ("v2.0.0", second)):
            project.write("release.toml", policy)
            project.commit(tag)
            project.tag(tag, tag)
        config = load_config(project.folder / "release.toml", {})
        with Repository(config.root) as repository:
            plan = make_plan(config, Options(tag="v2.0.0"), repository, NOW)
            since = read_tag("v1.0.0", config.streams)
            noted = Noted(text="", since=since, named_otherwise=named_otherwise(plan, repository, since))
        found = {target.policy.name: page_before(target, noted) for target in plan.targets}
        assert all(
            (repo_before(target, noted) is None) == (found[target.policy.name] is None) for target in plan.targets
        )
        return {name: page[1] if page else None for name, page in found.items()}

    return told


def test_repo_for_each_release(pages: Pages) -> None:
    """The repo of the same names with the earlier version."""
    assert pages(POLICY, POLICY) == {
        "vllm": f"{SHORT}-vllm-v1.0.0",
        "ollama": f"{SHORT}-q4_k_m-gguf-v1.0.0",
        "lora": f"{SHORT}-lora-v1.0.0",
    }


def test_versions_that_need_not_have_been_released(project: GitFolder) -> None:
    """All final versions before, the highest first, and a prerelease only right before."""
    for tag in ("v1.0.0", "v1.1.0", "v1.2.0-rc.1", "v1.2.0", "v2.0.0-rc.1", "v2.0.0"):
        project.commit(tag)
        project.tag(tag, tag)
    config = load_config(project.folder / "release.toml", {})
    with Repository(config.root) as repository:
        plan = make_plan(config, Options(tag="v2.0.0"), repository, NOW)
        noted = Noted(text="", since=read_tag("v2.0.0-rc.1", config.streams))
        target = next(target for target in plan.targets if target.policy.name == "lora")
        found = list(repos_before(plan, target, noted, repository))
        assert list(repos_before(plan, target, None, repository)) == []
    tags = ["v2.0.0-rc.1", "v1.2.0", "v1.1.0", "v1.0.0"]
    assert found == [(tag, f"{SHORT}-lora-{tag}") for tag in tags]


def test_repo_for_a_model(pages: Pages) -> None:
    """The earlier version's tag of the same repo."""
    assert pages(PER_MODEL, PER_MODEL) == {
        "vllm": f"{SHORT}-vllm/tree/v1.0.0",
        "ollama": f"{SHORT}-gguf/tree/v1.0.0",
        "lora": f"{SHORT}-lora/tree/v1.0.0",
    }


def test_another_layout(pages: Pages) -> None:
    """Where the earlier version had repos of other names, no card leads to one that is not there."""
    assert set(pages(POLICY, PER_MODEL).values()) == {None}


@pytest.mark.parametrize(
    "first",
    [
        POLICY.replace("[formats.ollama]\n", ""),
        POLICY.replace("[formats.ollama]\n", "[formats.ollama]\ntogether = true\n"),
        POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nrepo = { tagged = "{base}-{label}-v{version}" }\n'),
    ],
)
def test_another_name_of_one_format(pages: Pages, first: str) -> None:
    """A format that is new, or was named otherwise, is the only one without a version before."""
    assert pages(first, POLICY) == {
        "vllm": f"{SHORT}-vllm-v1.0.0",
        "ollama": None,
        "lora": f"{SHORT}-lora-v1.0.0",
    }


@pytest.mark.parametrize("broken", ['project = "x"\n[formats.vllm]\n', "formats = 1\n", "[formats\n"])
def test_policy_that_was_none(pages: Pages, broken: str) -> None:
    """What an earlier policy with mistakes meant is not known: it counts as the same."""
    assert pages(broken, POLICY)["vllm"] == f"{SHORT}-vllm-v1.0.0"


def test_policy_that_git_has_not(project: GitFolder, tmp_path: Path) -> None:
    """Where nobody knows what was said then, it counts as the same; so does a first version."""
    project.git("rm", "--cached", "--quiet", "release.toml")
    project.commit("Without a policy")
    project.tag("v1.0.0", "one")
    config = load_config(project.folder / "release.toml", {})
    with Repository(config.root) as repository:
        plan = make_plan(config, Options(tag="v1.0.0"), repository, NOW)
        for since in (read_tag("v1.0.0", config.streams), None):
            assert named_otherwise(plan, repository, since) == frozenset()
