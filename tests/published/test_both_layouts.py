"""Models whose first versions have a repo each, and later ones share one: what is told on both sides of the change."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.artifacts.card_changes import is_withdrawn, leads_to
from tagship.policy.config import Config, load_config
from tagship.published.releases import releases_in
from tagship.published.rollback import apply, plan_rollback

from tests.published.conftest import Releases
from tests.published.test_several_versions import POLICY, VLLM, roll_back, states

OWN = f"{VLLM}-v1.0.0"
FIELDS = {"base": "phi3", "dataset": "minimal"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


@pytest.fixture
def shared(releases: Releases) -> Releases:
    """v1.0.0 in a repo of its own; what is put now shares one."""
    releases.put(OWN, "v1.0.0", fields=FIELDS)
    return replace(releases, tags_versions=True)


def test_a_newer_prerelease(shared: Releases, config: Config) -> None:
    """What main has is withdrawn, and not the prerelease that is newer and on a branch; forward again it is back."""
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    shared.put(VLLM, "v1.2.0-rc.1", fields=FIELDS)
    released = shared.read(VLLM)
    assert roll_back(shared, config, "v1.0.0") == {VLLM: "withdraw v1.1.0, lead to v1.0.0"}
    assert leads_to(shared.read(VLLM)) == OWN and "This is v1.1.0" in shared.read(VLLM)
    assert states(shared, config)["v1.0.0"] == {"vllm": "live!"}
    roll_back(shared, config, "v1.1.0")
    assert shared.read(VLLM) == released and leads_to(shared.read(OWN)) == VLLM


def test_prereleases_alone(shared: Releases, config: Config) -> None:
    """A main that has nothing yet stays so, that the first final version can become it."""
    shared.put(VLLM, "v1.1.0-rc.1", fields=FIELDS)
    assert roll_back(shared, config, "v1.0.0") == {}
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    assert shared.read(VLLM) == shared.read(VLLM, revision="v1.1.0")


def test_twice(shared: Releases, config: Config) -> None:
    """After a second rollback the card names the version whose files main has, not the highest."""
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    shared.put(VLLM, "v2.0.0", fields=FIELDS)
    roll_back(shared, config, "v1.1.0")
    assert roll_back(shared, config, "v1.0.0")[VLLM] == "withdraw v1.1.0 and v2.0.0, lead to v1.0.0"
    card = shared.read(VLLM)
    assert is_withdrawn(card) and "This is v1.1.0, which was taken back" in card and "v2.0.0" not in card
    assert shared.read(VLLM, "model.safetensors") == f"{VLLM} v1.1.0"


def test_released_after_a_withdrawal(shared: Releases, config: Config) -> None:
    """What was withdrawn for a version with a repo of its own stays so when the shared repo has a new one."""
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    shared.put(VLLM, "v2.0.0", fields=FIELDS)
    roll_back(shared, config, "v1.0.0")
    shared.put(VLLM, "v2.1.0", fields=FIELDS)
    found = {tag: cells["vllm"] for tag, cells in states(shared, config).items()}
    assert found == {"v2.1.0": "live!", "v2.0.0": "withdrawn", "v1.1.0": "withdrawn", "v1.0.0": "live"}


def test_private(releases: Releases, config: Config) -> None:
    """A public card is withdrawn without naming the private repo that has the live version."""
    shared, public = replace(releases, tags_versions=True), f"{VLLM}-v1.2.0"
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    releases.put(OWN, "v1.0.0", fields=FIELDS)
    releases.put(public, "v1.2.0", fields=FIELDS)
    releases.api.update_repo_settings(VLLM, private=True)
    assert roll_back(releases, config, "v1.1.0")[public] == "withdraw v1.2.0, back to v1.1.0"
    cards = [releases.read(public), releases.read(OWN)]
    assert is_withdrawn(cards[0]) and [leads_to(card) for card in cards] == [None, None]
    assert not any(f"{VLLM})" in card for card in cards)
    assert states(releases, config)["v1.1.0"] == {"vllm": "live!"}


def test_proposed(shared: Releases, config: Config) -> None:
    """A rollback that was merged from pull requests is remembered as one that was committed."""
    shared.put(VLLM, "v1.1.0", fields=FIELDS)
    shared.put(VLLM, "v2.0.0", fields=FIELDS)
    for change in plan_rollback(shared.hub, config, releases_in(shared.hub, "acme"), "v1.1.0"):
        page = apply(shared.hub, change, create_pr=True)
        shared.api.merge_pull_request(change.repo_id, int(page.rpartition("/")[2]))
    shared.put(VLLM, "v2.1.0", fields=FIELDS)
    found = {tag: cells["vllm"] for tag, cells in states(shared, config).items()}
    assert found == {"v2.1.0": "live!", "v2.0.0": "withdrawn", "v1.1.0": "live", "v1.0.0": "live"}
