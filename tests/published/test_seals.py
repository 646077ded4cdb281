"""What seals a release, audited: by digests that the Hub has, and by the key that the policy names."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.artifacts.trust.keys import SigningKey, read_signing_key
from tagship.policy.config import parse_config
from tagship.policy.sign import SignPolicy
from tagship.published.audit import audit
from tagship.published.rollback import apply, plan_rollback
from tagship.published.seals import NOT_ASKED, Signatures

from tests.published.conftest import Releases, releases_of
from tests.signing import private_pem

REPO = "acme/phi3-minimal-vllm-v1.0.0"
SEALS = ("provenance", "signature")
POLICY = '[project]\nnamespace = "acme"\n[hub]\nlayout = "repo-per-model"\n[formats.vllm]\n'


def key_of(pem: str) -> SigningKey:
    return read_signing_key(SignPolicy(key="SIGNING_KEY"), Path(), {"SIGNING_KEY": pem})


@pytest.fixture
def key() -> SigningKey:
    return key_of(private_pem())


def told(releases: Releases, signatures: Signatures, repo_id: str = REPO) -> dict[str, tuple[str, str]]:
    """What an audit says of the seals of a release: level and words."""
    (release,) = releases_of(releases.hub, repo_id)
    findings = audit(releases.hub, release, signatures).findings
    return {each.about: (each.level, each.told) for each in findings if each.about in SEALS}


def retag(releases: Releases, files: dict[str, str]) -> None:
    """What a thief of a token would do."""
    releases.move_tag(REPO, "v1.0.0", releases.change(REPO, files))


def test_as_released(releases: Releases, key: SigningKey) -> None:
    """A signature by the key, and provenance of these files, are right; the key is named."""
    releases.put(REPO, "v1.0.0", key=key)
    found = told(releases, Signatures(keys=(key.public,), must=True))
    assert {name: level for name, (level, _) in found.items()} == dict.fromkeys(SEALS, "ok")
    assert key.public.id in found["signature"][1] and "0123456789" in found["provenance"][1]
    (release,) = releases_of(releases.hub, REPO)
    assert audit(releases.hub, release, Signatures(keys=(key.public,), must=True)).ok


def test_without_the_key(releases: Releases, key: SigningKey) -> None:
    """Who has no public key is told which one it is by, and that nobody checked that."""
    releases.put(REPO, "v1.0.0", key=key)
    level, words = told(releases, NOT_ASKED)["signature"]
    assert level == "note" and key.public.id in words and "not at hand" in words


@pytest.mark.parametrize("name", ["model.safetensors", "README.md", "release.json"])
def test_one_byte(releases: Releases, key: SigningKey, name: str) -> None:
    """One byte of any file, of the manifest too, and both are told to be of other files, by name."""
    releases.put(REPO, "v1.0.0", key=key)
    text = releases.read(REPO, name)
    retag(releases, {name: text + " "})
    found = told(releases, Signatures(keys=(key.public,)))
    assert [level for level, _ in found.values()] == ["different"] * 2
    assert all(f"of other files than these: {name}" in words for _, words in found.values())


def test_signature_that_was_edited(releases: Releases, key: SigningKey) -> None:
    """One byte of the signature itself, and it is not valid; what is none at all is told as that."""
    releases.put(REPO, "v1.0.0", key=key)
    bundle = json.loads(releases.read(REPO, "model.sig"))
    signature = bundle["dsseEnvelope"]["signatures"][0]
    flipped = "B" if signature["sig"][20] != "B" else "C"
    signature["sig"] = signature["sig"][:20] + flipped + signature["sig"][21:]
    retag(releases, {"model.sig": json.dumps(bundle)})
    level, words = told(releases, Signatures(keys=(key.public,)))["signature"]
    assert level == "different" and words.startswith("not valid:")
    retag(releases, {"model.sig": "signed"})
    assert told(releases, Signatures(keys=(key.public,)))["signature"][0] == "different"


def test_another_key(releases: Releases, key: SigningKey) -> None:
    """A release that somebody signed anew with a key of their own is told by both keys."""
    other = key_of(private_pem())
    releases.put(REPO, "v1.0.0", key=other)
    level, words = told(releases, Signatures(keys=(key.public,)))["signature"]
    assert level == "different" and key.public.id in words and other.public.id in words


def test_key_that_was_in_use_before(releases: Releases, key: SigningKey) -> None:
    """What was signed by an older key stays right, where the policy still names it."""
    releases.put(REPO, "v1.0.0", key=key)
    keys = (key_of(private_pem()).public, key.public)
    assert told(releases, Signatures(keys=keys, must=True))["signature"][0] == "ok"


def test_signature_that_was_taken_away(releases: Releases, key: SigningKey) -> None:
    """Where releases are signed, one that is not is none of ours; versions from before there was a key are."""
    releases.put(REPO, "v1.0.0")
    assert told(releases, NOT_ASKED) == {}
    assert told(releases, Signatures(keys=(key.public,), must=True))["signature"][0] == "different"
    assert told(releases, Signatures(must=True, first="1.0.0"))["signature"][0] == "different"
    assert told(releases, Signatures(keys=(key.public,), must=True, first="1.1.0")) == {}


def test_provenance_of_another_commit(releases: Releases, key: SigningKey) -> None:
    """A provenance that names another commit than the manifest is told, and one that is none."""
    manifest = releases.put(REPO, "v1.0.0", key=key)
    said = releases.read(REPO, "provenance.intoto.json")
    retag(releases, {"provenance.intoto.json": said.replace(manifest.commit, "f" * 40)})
    level, words = told(releases, NOT_ASKED)["provenance"]
    assert level == "different" and "f" * 40 in words
    retag(releases, {"provenance.intoto.json": "{}"})
    assert "no provenance" in told(releases, NOT_ASKED)["provenance"][1]


def test_without_a_key_of_one_s_own(releases: Releases, key: SigningKey) -> None:
    """A signature that names no key is by an identity, which `audit` does not check, and says so."""
    releases.put(REPO, "v1.0.0", key=key)
    bundle = json.loads(releases.read(REPO, "model.sig"))
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AA=="}}
    retag(releases, {"model.sig": json.dumps(bundle)})
    assert told(releases, NOT_ASKED)["signature"][0] == "note"
    assert told(releases, Signatures(keys=(key.public,)))["signature"][0] == "different"


def test_rolled_back(releases: Releases, key: SigningKey, tmp_path: Path) -> None:
    """What main is rolled back to is signed as it was: the very files, its seals among them."""
    repo = "acme/phi3-minimal-vllm"
    several = replace(releases, tags_versions=True)
    for tag in ("v1.0.0", "v2.0.0"):
        several.put(repo, tag, {"config.json": tag}, key=key)
    before = {name: several.read(repo, name, "v1.0.0") for name in ("model.sig", "provenance.intoto.json")}
    for change in plan_rollback(
        several.hub, parse_config(POLICY, tmp_path / "release.toml", {}), releases_of(several.hub, repo), "v1.0.0"
    ):
        apply(several.hub, change)
    assert {name: several.read(repo, name) for name in before} == before
    asked = Signatures(keys=(key.public,), must=True)
    assert all(audit(several.hub, release, asked).ok for release in releases_of(several.hub, repo))
