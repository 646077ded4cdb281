"""Published releases, held against their manifests."""

import json

import pytest
from tagship.artifacts.card_changes import changed, withdrawn_notice
from tagship.published.audit import Audit, audit
from tagship.published.releases import releases_in, releases_of, releases_under
from tagship.system.errors import ReleaseError
from tagship.verify.evidence import Evidence

from tests.published.conftest import Releases

REPO = "acme/phi3-minimal-vllm-v1.0.0"


def audited(releases: Releases, repo_id: str = REPO) -> Audit:
    (release,) = releases_of(releases.hub, repo_id)
    return audit(releases.hub, release)


def different(releases: Releases) -> list[str]:
    """What differs, a line each."""
    found = audited(releases)
    assert not found.ok
    return [f"{finding.about}: {finding.told}" for finding in found.findings if finding.level == "different"]


def retag(releases: Releases, files: dict[str, str]) -> None:
    """Change files, and have the tag name them: what a thief of a token would do."""
    releases.move_tag(REPO, "v1.0.0", releases.change(REPO, files))


def test_as_released(releases: Releases) -> None:
    """A release that is as it was published has nothing but what is right, in a line each."""
    releases.put(REPO, "v1.0.0")
    found = audited(releases)
    assert found.ok and {finding.level for finding in found.findings} == {"ok"}
    assert [finding.about for finding in found.findings] == ["files", "tag v1.0.0", "card", "evidence"]


def test_every_difference(releases: Releases) -> None:
    """Files with other content, missing and extra ones are named, all of them."""
    releases.put(REPO, "v1.0.0", {"config.json": "{}", "LICENSE": "MIT"})
    releases.api.delete_file("LICENSE", REPO)
    retag(releases, {"config.json": "{ }", "extra.py": "print()", "model.safetensors": "noise"})
    about = [line.split(":")[0] for line in different(releases)]
    assert about == ["LICENSE", "extra.py", "config.json", "model.safetensors"]


def test_card_of_another_model(releases: Releases) -> None:
    """A card that names another base, license or version than the manifest is told, field by field."""
    manifest = releases.put(
        REPO, "v1.0.0", {"README.md": "---\nbase_model: acme/gpt\nlicense: apache-2.0\n---\n# It\n"}
    )
    assert different(releases) == [
        f"card base_model: says acme/gpt, and the manifest {manifest.base_model}",
        "card license: says apache-2.0, and the manifest mit",
        "card version: says None, and the manifest 1.0.0",
    ]


def test_quantized_of_a_sibling(releases: Releases) -> None:
    """A GGUF names the merged repo that it is of."""
    merged = "acme/phi3-minimal-vllm-v1.0.0"
    card = f"---\nbase_model: {merged}\nlicense: mit\nversion: 1.0.0\n---\n# It\n"
    releases.put("acme/phi3-minimal-gguf-v1.0.0", "v1.0.0", {"README.md": card}, siblings=(merged,))
    assert audited(releases, "acme/phi3-minimal-gguf-v1.0.0").ok


def test_evidence(releases: Releases) -> None:
    """What was shown of other files, and what failed or was never shown, is told as that."""
    releases.put(REPO, "v1.0.0", evidence=Evidence(outcome="failed", why="token 2 differs"))
    (found,) = [finding for finding in audited(releases).findings if finding.about == "evidence"]
    assert (found.level, found.told) == ("note", "failed: token 2 differs")
    document = json.loads(releases.read(REPO, "release.json"))
    document["evidence"]["files"] = "0" * 64
    retag(releases, {"release.json": json.dumps(document)})
    assert different(releases) == ["evidence: of other files than these"]
    del document["evidence"]
    retag(releases, {"release.json": json.dumps(document)})
    assert audited(releases).ok


def test_tag_of_another_release(releases: Releases) -> None:
    """A tag that was set on another version's files is no release of that version."""
    releases.put(REPO, "v1.0.0")
    releases.api.create_tag(REPO, tag="v1.0.1")
    by_tag = {release.tag: audit(releases.hub, release) for release in releases_of(releases.hub, REPO)}
    assert by_tag["v1.0.0"].ok and not by_tag["v1.0.1"].ok
    assert "released as v1.0.0" in str(by_tag["v1.0.1"].findings)


def test_changes_of_main(releases: Releases) -> None:
    """What tagship changes on main after a release is listed, and right; anything else is not."""
    releases.put(REPO, "v1.0.0")
    card = releases.read(REPO)
    notice = withdrawn_notice("v1.0.0", "[acme/other](…)")
    releases.change(REPO, {"README.md": changed(card, next_version="acme/other", notice=notice)})
    found = audited(releases)
    assert found.ok and [(line.level, line.told) for line in found.findings if line.about == "main"] == [
        ("note", "the card leads to acme/other, and says that this was withdrawn")
    ]
    releases.change(REPO, {"README.md": card + "Buy my book.\n"})
    assert different(releases) == ["main: README.md was changed since the release"]
    releases.api.delete_file("README.md", REPO)
    assert different(releases) == ["main: README.md was deleted since the release"]
    releases.change(REPO, {"model.safetensors": "noise"})
    assert different(releases) == ["main: changed since the release: model.safetensors"]


def test_several_versions_in_a_repo(releases: Releases) -> None:
    """Each version of a repo is looked at under its tag; main may be at any of them."""
    for tag in ("v1.0.0", "v2.0.0"):
        releases.put("acme/phi3-minimal", tag)
    found = [audit(releases.hub, release) for release in releases_of(releases.hub, "acme/phi3-minimal")]
    assert [(each.release.tag, each.ok) for each in found] == [("v1.0.0", True), ("v2.0.0", True)]
    assert "is at v2.0.0" in [line.told for line in found[0].findings]


def test_release_without_a_version(releases: Releases) -> None:
    """One by time has no tag: main is what was released."""
    releases.put("acme/by-time", None)
    assert audited(releases, "acme/by-time").ok
    releases.change("acme/by-time", {"model.safetensors": "noise"})
    assert not audited(releases, "acme/by-time").ok


def test_repo_under_another_name(releases: Releases) -> None:
    """A repo that was renamed says what it was; that is no difference."""
    releases.put(REPO, "v1.0.0")
    releases.api.move_repo(REPO, "acme/renamed")
    found = audited(releases, "acme/renamed")
    assert found.ok and found.findings[1].told == f"released as {REPO}, of which this is a copy or a new name"


def test_what_is_in_a_namespace(releases: Releases) -> None:
    """Repos without a manifest are somebody else's; a tag finds those that were released under it."""
    releases.put(REPO, "v1.0.0")
    releases.put("acme/other-v2.0.0", "v2.0.0")
    releases.api.create_repo("acme/of-others")
    assert [release.repo_id for release in releases_in(releases.hub, "acme")] == ["acme/other-v2.0.0", REPO]
    assert [release.repo_id for release in releases_under(releases.hub, "acme", "v1.0.0")] == [REPO]
    with pytest.raises(ReleaseError, match=r"no repo of acme on .* was released as v3"):
        releases_under(releases.hub, "acme", "v3.0.0")
