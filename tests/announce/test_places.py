"""Telling of a release: on GitHub, on GitLab, by a webhook, each from servers that answer as those do."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.announce.announcement import Announcement, Place, ReleasedFile, ReleasedRepo, with_text
from tagship.announce.places import places_of
from tagship.policy.announce import AnnouncePolicy
from tagship.policy.config import parse_config
from tagship.policy.file import PolicyError
from tagship.system.errors import ReleaseError, ToolError

from tests.announce.forge_servers import Forge, github, gitlab, hook, serving

FILE = ReleasedFile(path="model.safetensors", size=3, sha256="a" * 64)
TOLD = Announcement(
    tag="v1.0.0",
    version="1.0.0",
    prerelease=False,
    title="v1.0.0",
    text="### Added\n\n- a field\n",
    run="run",
    base_model="acme/phi3",
    commit="0" * 40,
    source="https://github.com/acme/it",
    repos=(ReleasedRepo(name="vllm", repo_id="acme/it", url="https://hf.co/acme/it", commit="1" * 40, files=(FILE,)),),
)


@pytest.fixture
def on_github() -> Iterator[Forge]:
    with serving(github, Forge(tags={"v1.0.0"})) as forge:
        yield forge


@pytest.fixture
def on_gitlab() -> Iterator[Forge]:
    with serving(gitlab, Forge(tags={"v1.0.0"})) as forge:
        yield forge


@pytest.fixture
def hooked() -> Iterator[Forge]:
    with serving(hook, Forge()) as forge:
        yield forge


def github_of(forge: Forge, tmp_path: Path) -> Place:
    environment = {"GITHUB_API_URL": forge.url, "GITHUB_TOKEN": forge.token, "GITHUB_REPOSITORY": "acme/it"}
    (place,) = places_of(AnnouncePolicy(github=True), None, tmp_path, environment.get)
    return place


def gitlab_of(forge: Forge, tmp_path: Path) -> Place:
    environment = {"CI_API_V4_URL": forge.url, "CI_JOB_TOKEN": forge.token}
    source = "https://gitlab.com/acme/group/it"
    (place,) = places_of(AnnouncePolicy(gitlab=True), source, tmp_path, environment.get)
    return place


def webhook_of(forge: Forge, tmp_path: Path, secret: str | None = None) -> Place:
    policy = AnnouncePolicy(webhook="URL", webhook_secret="SECRET" if secret else None)
    environment = {"URL": f"{forge.url}/in?key=k"} | ({"SECRET": secret} if secret else {})
    (place,) = places_of(policy, None, tmp_path / "state", environment.get)
    return place


def changes(forge: Forge) -> list[str]:
    """What was asked to be changed."""
    return [method for method, _ in forge.asked if method != "GET"]


def test_github_once(on_github: Forge, tmp_path: Path) -> None:
    """The release of a tag is made once; the same again changes nothing, another text does, and keeps what people
    wrote around it, and their title."""
    place = github_of(on_github, tmp_path)
    told = place.tell(TOLD)
    assert (told.url, told.before) == ("https://github.com/acme/it/releases/tag/v1.0.0", False)
    made = on_github.releases["v1.0.0"]
    assert (made["name"], made["draft"], made["prerelease"]) == ("v1.0.0", False, False) and "- a field" in made["body"]
    assert on_github.headers[0]["authorization"] == "Bearer secret"
    assert place.tell(TOLD).before and changes(on_github) == ["POST"]
    made["body"] = f"By hand.\r\n\r\n{made['body']}\r\nThanks!"
    made["name"] = "The one with a field"
    assert not place.tell(replace(TOLD, text="- two fields", prerelease=True)).before
    assert changes(on_github) == ["POST", "PATCH"]
    assert made["body"].startswith("By hand.") and made["body"].endswith("Thanks!")
    assert "- two fields" in made["body"] and "- a field" not in made["body"]
    assert made["prerelease"] is True and made["name"] == "The one with a field" and len(on_github.releases) == 1


def test_github_makes_no_tag(on_github: Forge, tmp_path: Path) -> None:
    """A tag that is not there is told before and after, as GitHub would make it on its default branch."""
    on_github.tags.clear()
    place = github_of(on_github, tmp_path)
    for attempt in (lambda: place.check("v1.0.0"), lambda: place.tell(TOLD)):
        with pytest.raises(ToolError, match=r"v1\.0\.0 is not on 127") as caught:
            attempt()
        assert caught.value.remedy == "git push origin v1.0.0"
    assert not on_github.releases


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [(401, "Bad credentials", "still valid"), (403, "not accessible", "contents: write"), (503, "", "again later")],
)
def test_github_refuses(on_github: Forge, tmp_path: Path, code: int, words: str, remedy: str) -> None:
    """What a server refuses with is told, with what would help."""
    on_github.refuses = (code, {"message": words} if words else None)
    with pytest.raises(ToolError, match=f"says {code} .*{words}") as caught:
        github_of(on_github, tmp_path).check("v1.0.0")
    assert remedy in str(caught.value.remedy)


def test_gitlab_once(on_gitlab: Forge, tmp_path: Path) -> None:
    """As on GitHub, with links to the repos; a prerelease is one by its title."""
    place = gitlab_of(on_gitlab, tmp_path)
    place.check("v1.0.0")
    told = place.tell(replace(TOLD, prerelease=True))
    assert told.url == "https://gitlab.com/acme/group/it/-/releases/v1.0.0" and not told.before
    made = on_gitlab.releases["v1.0.0"]
    assert made["name"] == "v1.0.0 (prerelease)" and "ref" not in made
    assert made["assets"]["links"] == [{"name": "vllm", "url": "https://hf.co/acme/it"}]
    assert on_gitlab.headers[0]["job-token"] == "secret"
    assert place.tell(replace(TOLD, prerelease=True)).before
    place.tell(replace(TOLD, text="- two fields"))
    assert changes(on_gitlab) == ["POST", "PUT"] and "- two fields" in made["description"]


def test_gitlab_makes_no_tag(on_gitlab: Forge, tmp_path: Path) -> None:
    """A tag that is not there is refused by GitLab itself, whose words are told."""
    on_gitlab.tags.clear()
    with pytest.raises(ToolError, match=r"says 422 .*Ref is not specified"):
        gitlab_of(on_gitlab, tmp_path).tell(TOLD)


def test_webhook(hooked: Forge, tmp_path: Path) -> None:
    """The document is signed over its very bytes, delivered once, and again when it says something else."""
    place = webhook_of(hooked, tmp_path, secret="shared")
    assert not place.tell(TOLD).before
    ((headers, body),) = zip(hooked.headers, hooked.bodies, strict=True)
    digest = hmac.new(b"shared", body, hashlib.sha256).hexdigest()
    assert headers["x-tagship-signature-256"] == f"sha256={digest}" and headers["content-type"] == "application/json"
    document = json.loads(body)
    assert (document["event"], document["tag"], document["version"]) == ("release", "v1.0.0", "1.0.0")
    assert document["repos"][0]["files"][0]["sha256"] == FILE.sha256
    assert place.tell(TOLD).before and len(hooked.asked) == 1
    assert not place.tell(replace(TOLD, text="other")).before
    assert hooked.headers[0]["x-tagship-delivery"] != hooked.headers[1]["x-tagship-delivery"]


def test_webhook_without_a_secret(hooked: Forge, tmp_path: Path) -> None:
    """Nothing is signed then; a machine that has seen nothing delivers again, under the same name."""
    webhook_of(hooked, tmp_path).tell(TOLD)
    webhook_of(hooked, tmp_path / "elsewhere").tell(TOLD)
    first, second = hooked.headers
    assert "x-tagship-signature-256" not in first and first["x-tagship-delivery"] == second["x-tagship-delivery"]


def test_webhook_fails(hooked: Forge, tmp_path: Path) -> None:
    """A failure is told without the address, which may be a secret, and delivered by the next attempt."""
    place = webhook_of(hooked, tmp_path)
    hooked.refuses = (500, {"error": "database"})
    with pytest.raises(ToolError, match=r"127\.0\.0\.1 says 500 to: the webhook, database") as caught:
        place.tell(TOLD)
    assert "key=k" not in str(caught.value)
    hooked.refuses = None
    assert not place.tell(TOLD).before


def test_nobody_there(tmp_path: Path) -> None:
    """A server that does not answer is told as that."""
    nowhere = Forge(url="http://127.0.0.1:9")
    for place in (github_of(nowhere, tmp_path), gitlab_of(nowhere, tmp_path), webhook_of(nowhere, tmp_path)):
        with pytest.raises(ToolError, match="does not answer"):
            place.tell(TOLD)


def test_what_is_missing(tmp_path: Path) -> None:
    """All that is missing is named at once; a token is not taken to another host than its own."""
    policy = AnnouncePolicy(github=True, gitlab=True, webhook="URL", webhook_secret="SECRET")
    with pytest.raises(ReleaseError) as caught:
        places_of(policy, None, tmp_path, {}.get)
    for name in ("GITHUB_REPOSITORY", "CI_PROJECT_PATH", "URL", "SECRET"):
        assert name in str(caught.value)
    with pytest.raises(ReleaseError, match="GITHUB_TOKEN"):
        places_of(AnnouncePolicy(github=True), "https://github.example.org/a/b", tmp_path, {"GITHUB_TOKEN": "t"}.get)


def test_text_that_was_edited() -> None:
    """Without the lines that mark it, ours is put below what is there; half of them is nobody's."""
    assert with_text("", "x") == with_text(with_text("", "y"), "x")
    assert with_text("By hand", "x").startswith("By hand\n\n<!--")
    half = with_text("", "y").partition("y")[0]
    assert with_text(half, "x").count("x\n") == 1


@pytest.mark.parametrize("value", ["https://hooks.example.org/secret", "env:", "env:A-B"])
def test_secrets_are_no_part_of_the_policy(value: str, tmp_path: Path) -> None:
    """An address in the policy itself is refused, and not shown."""
    policy = f'[project]\nnamespace = "acme"\n[formats.lora]\n[announce]\nwebhook = "{value}"\n'
    with pytest.raises(PolicyError, match=r"announce\.webhook must name a variable") as caught:
        parse_config(policy, tmp_path / "release.toml", {})
    assert "hooks.example" not in str(caught.value)
