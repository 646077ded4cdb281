"""A release that is told of: after its check, once in each place, and again where that failed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from tagship.cli.shell import Refusal
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError

from tests.announce.forge_servers import Forge, github, hook, serving
from tests.end_to_end.conftest import Project
from tests.end_to_end.publishing import publish

REPO = "acme/phi3avro-minimal-lora-v1.0.0-rc.1"


@pytest.fixture
def tagged(make_project: Callable[[], Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tagged project that is told of on GitHub and by a webhook."""
    project = make_project()
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text() + '\n[announce]\ngithub = true\nwebhook = "env:HOOK"\n')
    project.git("commit", "--quiet", "--all", "--message=feat: tell people")
    project.git("tag", "v1.0.0-rc.1", "--message", "Release v1.0.0-rc.1")
    monkeypatch.setenv("HF_HOME", project.environment["HF_HOME"])
    monkeypatch.setenv("HF_TOKEN", "hf_anything")
    return project


@pytest.fixture
def forges(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Forge, Forge]]:
    """GitHub and the receiver of the webhook."""
    with serving(github, Forge(tags={"v1.0.0-rc.1"})) as on_github, serving(hook, Forge()) as hooked:
        monkeypatch.setenv("GITHUB_REPOSITORY", "acme/it")
        monkeypatch.setenv("GITHUB_API_URL", on_github.url)
        monkeypatch.setenv("GITHUB_TOKEN", on_github.token)
        monkeypatch.setenv("HOOK", hooked.url)
        yield on_github, hooked


@pytest.fixture
def served(tmp_path: Path) -> Iterator[EmbeddedHub]:
    with EmbeddedHub(root=tmp_path / "hub") as hub:
        yield hub


def test_a_failure_undoes_nothing(tagged: Project, forges: tuple[Forge, Forge], served: EmbeddedHub) -> None:
    """Where a place fails, the release is there, the others are told, and the task says no; the same command tells what
    is left, and nothing twice."""
    on_github, hooked = forges
    hooked.refuses = (500, {"message": "out of order"})
    document = publish(tagged, formats=("lora",), hub=served.url)
    assert isinstance(document, Refusal) and "it is released, but webhook was not told" in document["error"]
    assert "same command" in document["remedy"]
    assert [ref.name for ref in HfApi(endpoint=served.url, token=False).list_repo_refs(REPO).tags] == ["v1.0.0-rc.1"]
    made = on_github.releases["v1.0.0-rc.1"]
    assert made["prerelease"] and f"[{REPO}]({served.url}/{REPO}" in made["body"]
    (entry,) = document["formats"]
    for file in entry["files"]:
        assert f"{file['sha256']}  {file['path']}" in made["body"]
    assert "tell people" in made["body"]
    hooked.refuses = None
    again = publish(tagged, formats=("lora",), hub=served.url)
    assert not isinstance(again, Refusal)
    assert [(each["place"], each["before"], each["error"]) for each in again["announced"]] == [
        ("github", True, None),
        ("webhook", False, None),
    ]
    assert [method for method, _ in on_github.asked if method != "GET"] == ["POST"]


def test_gates(
    tagged: Project, forges: tuple[Forge, Forge], served: EmbeddedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing to tell of a release is told before anything is written: a variable, a tag that is not there."""
    on_github, _ = forges
    on_github.tags.clear()
    with pytest.raises(ReleaseError, match="is not on 127"):
        publish(tagged, formats=("lora",), hub=served.url)
    monkeypatch.delenv("HOOK")
    with pytest.raises(ReleaseError, match="HOOK, the webhook's address"):
        publish(tagged, formats=("lora",), hub=served.url)
    assert not (tagged.folder / "exports").exists()


def test_a_rehearsal_is_not_told(tagged: Project) -> None:
    """The embedded Hub is where releases are rehearsed: nobody is told, and nothing is needed for it."""
    document = publish(tagged, formats=("lora",))
    assert "announced" not in document and "embedded Hub" in document["skipped"]["announce"]
