"""Earlier releases made live again, and back."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tagship.artifacts.card_changes import is_withdrawn, leads_to
from tagship.hub.succession import lead_on
from tagship.naming.tags import read_tag
from tagship.policy.config import Config, load_config
from tagship.published.audit import audit
from tagship.published.releases import releases_in
from tagship.published.rollback import Change, apply, plan_rollback
from tagship.system.errors import ReleaseError, ToolError

from tests.published.conftest import Releases

POLICY = '[project]\nnamespace = "acme"\n[formats.vllm]\n[formats.lora]\n'
TAGS = ("v1.0.0", "v1.1.0", "v2.0.0-rc.1", "v2.0.0")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


@pytest.fixture
def released(releases: Releases, config: Config) -> Releases:
    """Four versions, each in a repo, that lead to each other."""
    repos = {read_tag(tag, config.streams): repo(tag) for tag in TAGS}
    for tag in TAGS:
        releases.put(repo(tag), tag)
    for tag in repos:
        lead_on(releases.hub, repos, tag)
    return releases


def repo(tag: str) -> str:
    return f"acme/phi3-minimal-vllm-{tag}"


def planned(releases: Releases, config: Config, tag: str, formats: Sequence[str] = ()) -> list[Change]:
    return plan_rollback(releases.hub, config, releases_in(releases.hub, "acme"), tag, formats)


def roll_back(releases: Releases, config: Config, tag: str) -> dict[str, str]:
    """Do it; returns what was done, by repo."""
    changes = planned(releases, config, tag)
    for change in changes:
        apply(releases.hub, change)
    assert planned(releases, config, tag) == [], "once is enough"
    return {change.repo_id: change.told for change in changes}


def led(releases: Releases) -> dict[str, tuple[str | None, bool]]:
    """Where each version leads, and whether it is withdrawn."""
    cards = {tag: releases.read(repo(tag)) for tag in TAGS}
    return {tag: (leads_to(card), is_withdrawn(card)) for tag, card in cards.items()}


def test_back_and_forward(released: Releases, config: Config) -> None:
    """The version to use leads nowhere, later ones are withdrawn and lead to it, and forward again all is as it was.
    Tags stay where they are, and every release passes an audit."""
    before = led(released)
    assert before["v1.1.0"] == (repo("v2.0.0"), False) and before["v2.0.0"] == (None, False)
    assert roll_back(released, config, "v1.0.0") == {
        repo("v1.0.0"): "v1.0.0 is the version to use",
        repo("v1.1.0"): "withdraw v1.1.0, lead to v1.0.0",
        repo("v2.0.0-rc.1"): "v2.0.0-rc.1 leads to no other",
        repo("v2.0.0"): "withdraw v2.0.0, lead to v1.0.0",
    }
    assert led(released) == {
        "v1.0.0": (None, False),
        "v1.1.0": (repo("v1.0.0"), True),
        "v2.0.0-rc.1": (None, False),
        "v2.0.0": (repo("v1.0.0"), True),
    }
    assert f"v1.0.0, [{repo('v1.0.0')}]({released.hub.url}/" in released.read(repo("v2.0.0"))
    found = [audit(released.hub, release) for release in releases_in(released.hub, "acme")]
    assert len(found) == 4 and all(each.ok for each in found)
    roll_back(released, config, "v1.1.0")
    assert led(released)["v1.0.0"] == (repo("v1.1.0"), False)
    roll_back(released, config, "v2.0.0")
    assert led(released) == before
    assert released.read(repo("v2.0.0")) == released.read(repo("v2.0.0"), revision="v2.0.0")


def test_interrupted(released: Releases, config: Config) -> None:
    """What was done is not done again; what is left is."""
    first, second, *_ = planned(released, config, "v1.0.0")
    apply(released.hub, first)
    apply(released.hub, second)
    left = planned(released, config, "v1.0.0")
    assert {change.repo_id for change in left} == {repo("v2.0.0-rc.1"), repo("v2.0.0")}
    released.change(repo("v2.0.0"), {"README.md": "---\nlicense: mit\n---\n\n# Mine\n"})
    with pytest.raises(ToolError):
        apply(released.hub, left[-1])
    assert not is_withdrawn(released.read(repo("v2.0.0")))


def test_release_after_a_rollback(released: Releases, config: Config) -> None:
    """The next version is what the live one leads to; nobody is led to a withdrawn one."""
    roll_back(released, config, "v1.1.0")
    released.put(repo("v3.0.0"), "v3.0.0")
    repos = {read_tag(tag, config.streams): repo(tag) for tag in (*TAGS, "v3.0.0")}
    lead_on(released.hub, repos, read_tag("v3.0.0", config.streams))
    assert led(released)["v1.1.0"] == (repo("v3.0.0"), False)
    assert led(released)["v2.0.0"] == (repo("v1.1.0"), True)


def test_led_elsewhere_by_hand(released: Releases, config: Config) -> None:
    """Where a card names a repo that is none of the versions, it goes on doing so."""
    card = released.read(repo("v1.0.0")).replace(repo("v1.1.0"), "acme/other")
    released.change(repo("v1.0.0"), {"README.md": card})
    roll_back(released, config, "v1.1.0")
    assert led(released)["v1.0.0"] == ("acme/other", False)


def test_a_repo_with_all_versions(releases: Releases, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit restores the files of a version by copies, deletes what came later, and the card says so; forward
    again the repo is what was released."""
    name = "acme/phi3-minimal-vllm"
    for tag, files in (("v1.0.0", {"a.json": "1"}), ("v2.0.0", {"a.json": "2", "b.json": "2"})):
        releases.put(name, tag, {**files, "model.safetensors": tag * 10})
    sent: list[str] = []
    preupload = releases.api.preupload_lfs_files
    monkeypatch.setattr(
        releases.api,
        "preupload_lfs_files",
        lambda *args, additions, **more: (
            sent.extend(each.path_in_repo for each in additions),
            preupload(*args, additions=additions, **more),
        ),
    )
    assert roll_back(releases, config, "v1.0.0") == {name: "restore v1.0.0, take v2.0.0 back"}
    assert "model.safetensors" not in sent
    assert sorted(releases.api.list_repo_files(name)) == [
        ".gitattributes",
        "README.md",
        "a.json",
        "model.safetensors",
        "release.json",
    ]
    assert releases.read(name, "model.safetensors") == "v1.0.0" * 10
    assert "v1.0.0 again: v2.0.0 was taken back" in releases.read(name)
    assert all(audit(releases.hub, release).ok for release in releases_in(releases.hub, "acme"))
    assert roll_back(releases, config, "v2.0.0") == {name: "restore v2.0.0"}
    assert releases.read(name) == releases.read(name, revision="v2.0.0")
    assert releases.read(name, "b.json") == "2"


def test_format_alone(released: Releases, config: Config) -> None:
    """Only the lines of the formats that were named."""
    with pytest.raises(ReleaseError, match=r"v1\.0\.0 was not released in lora") as caught:
        planned(released, config, "v1.0.0", ["lora"])
    assert caught.value.remedy == "it was in vllm"
    assert len(planned(released, config, "v1.0.0", ["vllm"])) == 4


def test_unknown_tag(releases: Releases, config: Config) -> None:
    with pytest.raises(ReleaseError, match="nothing of acme was released as v9"):
        planned(releases, config, "v9.0.0")


def test_prerelease(released: Releases, config: Config) -> None:
    """Nobody is led to a prerelease."""
    with pytest.raises(ReleaseError, match=r"v2\.0\.0-rc\.1 is a prerelease"):
        planned(released, config, "v2.0.0-rc.1")


def test_main_that_was_changed(released: Releases, config: Config) -> None:
    """A version whose main has other files gets those that were released; a card that was deleted comes back."""
    released.change(repo("v1.1.0"), {"model.safetensors": "noise", "extra.py": "print()"})
    released.api.delete_file("README.md", repo("v2.0.0"))
    done = roll_back(released, config, "v1.1.0")
    assert done[repo("v1.1.0")] == "restore v1.1.0"
    assert released.read(repo("v1.1.0"), "model.safetensors") == f"{repo('v1.1.0')} v1.1.0"
    assert "extra.py" not in released.api.list_repo_files(repo("v1.1.0"))
    assert is_withdrawn(released.read(repo("v2.0.0")))


def test_withdrawn_no_longer(released: Releases, config: Config) -> None:
    """Going forward past a version that was withdrawn says that it no longer is."""
    roll_back(released, config, "v1.0.0")
    told = roll_back(released, config, "v2.0.0")
    assert told[repo("v1.1.0")] == "v1.1.0 is withdrawn no longer, and leads to v2.0.0"


def test_names_of_another_policy(releases: Releases, config: Config) -> None:
    """Versions are of one line by what their runs recorded, whatever names the policy gives today; other streams and
    builds are lines of their own."""
    fields = {"base": "phi3", "dataset": "minimal"}
    for name, tag, more in (
        ("old-1", "v1.0.0", {}),
        ("old-2", "v2.0.0", {}),
        ("build", "v2.0.0+cu124", {}),
        ("other", "model-v3.0.0", {"stream": "model"}),
    ):
        releases.put(f"acme/{name}", tag, fields=fields, **more)
    assert roll_back(releases, config, "v1.0.0").keys() == {"acme/old-2"}


def test_proposed(released: Releases, config: Config) -> None:
    """With create_pr nothing changes but by a pull request, of which there is one."""
    (first, *_) = planned(released, config, "v1.0.0")
    page = apply(released.hub, first, create_pr=True)
    assert apply(released.hub, first, create_pr=True) == page
    assert first in planned(released, config, "v1.0.0")
