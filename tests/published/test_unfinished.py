"""A release to a model's repo that was stopped after its commit, before its tag."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.policy.config import Config, load_config
from tagship.published.releases import releases_in
from tagship.published.rollback import plan_rollback
from tagship.system.errors import ReleaseError

from tests.published.conftest import Releases
from tests.published.test_several_versions import POLICY, VLLM, audits, roll_back, states


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


@pytest.fixture
def stopped(releases: Releases) -> Releases:
    """Two versions, a prerelease, and on main v3.0.0, which has no tag yet."""
    per_model = replace(releases, tags_versions=True)
    for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1", "v3.0.0"):
        per_model.put(VLLM, tag)
    per_model.api.delete_tag(VLLM, tag="v3.0.0")
    return per_model


def test_audit(stopped: Releases) -> None:
    """It alone is told as what is not in order, with what to do; of others main is at another version."""
    found = audits(stopped)
    (told,) = [finding for finding in found[VLLM, None].findings if finding.level == "different"]
    assert told.about == "tag v3.0.0" and "the release was not finished" in told.told and "release sets it" in told.told
    for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1"):
        assert found[VLLM, tag].ok
        assert [each.told for each in found[VLLM, tag].findings if each.about == "main"] == [
            "is at v3.0.0, which has no tag"
        ]


def test_matrix(stopped: Releases, config: Config) -> None:
    """It is unfinished, and nothing else is other than before."""
    assert {name: cells["vllm"] for name, cells in states(stopped, config).items()} == {
        "v3.0.0": "unfinished",
        "v2.1.0-rc.1": "live",
        "v2.0.0": "live!",
        "v1.0.0": "live",
    }


def test_matrix_of_a_changed_main(releases: Releases, config: Config) -> None:
    """What somebody put onto main is told of the version that main says it is, not of a prerelease on a branch."""
    per_model = replace(releases, tags_versions=True)
    for tag in ("v1.0.0", "v1.1.0-rc.1"):
        per_model.put(VLLM, tag)
    per_model.change(VLLM, {"model.safetensors": "noise"})
    told = {name: cells["vllm"] for name, cells in states(per_model, config).items()}
    assert told == {"v1.1.0-rc.1": "live", "v1.0.0": "changed!"}


def test_rollback(stopped: Releases, config: Config) -> None:
    """Nothing is planned over a version that no tag would bring back; with its tag it is one like others."""
    with pytest.raises(ReleaseError, match=r"is v3\.0\.0, which has no tag there") as caught:
        plan_rollback(stopped.hub, config, releases_in(stopped.hub, "acme"), "v1.0.0")
    assert "release --tag v3.0.0" in str(caught.value.remedy)
    stopped.api.create_tag(VLLM, tag="v3.0.0")
    assert roll_back(stopped, config, "v2.0.0") == {VLLM: "restore v2.0.0, take v3.0.0 back"}
