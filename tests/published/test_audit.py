"""Published releases, held against their manifests."""

import json

import pytest
from tagship.artifacts.card_changes import changed, withdrawn_notice
from tagship.published.audit import Audit, audit, unread
from tagship.published.releases import Unread, all_in, all_of, releases_in
from tagship.verify.evidence import Evidence

from tests.published.conftest import Releases, releases_of

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
    """Repos without a manifest, or with another program's, are somebody else's."""
    releases.put(REPO, "v1.0.0")
    releases.put("acme/other-v2.0.0", "v2.0.0")
    releases.api.create_repo("acme/of-others")
    assert [release.repo_id for release in releases_in(releases.hub, "acme")] == ["acme/other-v2.0.0", REPO]
    releases.change("acme/of-others", {"release.json": '{"schema": 1, "name": "theirs"}'})
    assert len(all_in(releases.hub, "acme")) == 2


@pytest.mark.parametrize(
    "text", ["{", '{"tagship": "0.1.0", "schema": 2}', '{"tagship": "0.1.0", "schema": 1}', "\ufeff{}"]
)
def test_damaged_manifest(releases: Releases, text: str) -> None:
    """A release whose manifest cannot be read is told as that, and does not vanish."""
    releases.put(REPO, "v1.0.0")
    retag(releases, {"release.json": text})
    (found,) = all_of(releases.hub, REPO)
    assert isinstance(found, Unread) and found.tag == "v1.0.0"
    finding = unread(found)
    assert finding.level == "different" and "release.json of acme" in finding.told


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", 110), ("repo_id", None), ("format", []), ("base_model", None), ("commit", 5), ("siblings", [1])],
)
def test_manifest_of_other_types(releases: Releases, key: str, value: object) -> None:
    """So is one with values of other types: it ends no report on the rest."""
    releases.put(REPO, "v1.0.0")
    document = json.loads(releases.read(REPO, "release.json"))
    retag(releases, {"release.json": json.dumps(document | {key: value})})
    (found,) = all_of(releases.hub, REPO)
    assert isinstance(found, Unread) and "malformed" in found.problem


def test_deleted_manifest(releases: Releases) -> None:
    """Where main has none any more, the release is still there by its tag, and main differs."""
    releases.put(REPO, "v1.0.0")
    releases.api.delete_file("release.json", REPO)
    assert different(releases) == ["main: changed since the release: release.json"]


def test_deleted_tag(releases: Releases) -> None:
    """A release whose tag was deleted is told by main's manifest."""
    for tag in ("v1.0.0", "v2.0.0"):
        releases.put("acme/phi3-minimal", tag)
    releases.api.delete_tag("acme/phi3-minimal", tag="v2.0.0")
    found = [audit(releases.hub, release) for release in releases_of(releases.hub, "acme/phi3-minimal")]
    told = [f"{line.about}: {line.told}" for each in found for line in each.findings if line.level == "different"]
    (only,) = told
    assert only.startswith("tag v2.0.0: not there: the release was not finished, or the tag deleted")


def test_alias(releases: Releases) -> None:
    """Somebody's own tag on a release, that looks like no version, is a note."""
    releases.put(REPO, "v1.0.0")
    releases.api.create_tag(REPO, tag="stable")
    assert all(audit(releases.hub, release).ok for release in releases_of(releases.hub, REPO))
