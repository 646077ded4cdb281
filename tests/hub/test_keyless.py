"""Publishing from CI without a stored token."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from huggingface_hub import CommitOperationCopy, HfApi
from msgspec.structs import replace
from tagship.artifacts.manifest import list_files
from tagship.hub.access import check_access
from tagship.hub.connection import Hub, open_hub
from tagship.hub.keyless import Identity, claims_of
from tagship.hub.publish import Upload, check_published, publish, tag_published
from tagship.hub.repository import standing
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.directory import Publisher
from tagship.system.errors import ReleaseError, ToolError

from tests.hub_server.issuer import CLAIMS, ISSUER, Issuer
from tests.hub_server.team import TEAM

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """A Hub whose acme/model, which is private, trusts this CI; acme/other is there, and does not."""
    folder = tmp_path_factory.mktemp("hub")
    keys = issuer.write_keys(folder / "jwks.json")
    publishers = tuple(
        Publisher(repo_id=repo_id, issuer=ISSUER, claims=CLAIMS, keys=keys) for repo_id in (REPO, "acme/unmade")
    )
    with EmbeddedHub(root=folder / "hub", directory=replace(TEAM, publishers=publishers)) as server:
        alice = HfApi(endpoint=server.url, token="alice")
        alice.create_repo(REPO, private=True)
        alice.create_repo("acme/other")
        yield server


@pytest.fixture
def client(server: EmbeddedHub, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The Hub as a job of GitLab sees it: its identity is in its environment."""
    monkeypatch.setenv("HF_OIDC_RESOURCE", REPO)
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", issuer.identity(server.url))
    with open_hub(server.url, "acme", tmp_path / "none") as hub:
        yield hub


def upload(folder: Path, **changes: Any) -> Upload:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    made = Upload(
        repo_id=REPO, folder=folder, files=list_files(folder), private=True, message="R", description="", tag="v1"
    )
    return replace(made, **changes)


def test_publishes_to_a_repo_that_trusts_the_job(client: Hub, tmp_path: Path) -> None:
    """The gates let it through without asking whose token it is; files, check and tag go with the repo's own token."""
    check_access(client, {REPO: True})
    wanted = upload(tmp_path)
    commit = publish(client, wanted)
    assert len(check_published(client, wanted, commit)) == 2
    tag_published(client, wanted, commit)
    found = standing(client, REPO)
    assert found is not None and found.private and found.head == commit.sha


def test_repos_that_are_not_there(client: Hub, tmp_path: Path) -> None:
    """All of them are listed, and what to do; none is made, also where it went in between."""
    with pytest.raises(ReleaseError, match=r"acme/a, acme/b; keyless publishing cannot make a repo") as raised:
        check_access(client, {"acme/a": False, REPO: True, "acme/b": False})
    assert "repo-per-model" in str(raised.value.remedy)
    with pytest.raises(ReleaseError, match="cannot make a repo"):
        publish(client, upload(tmp_path, repo_id="acme/unmade"))
    assert standing(client, "acme/unmade") is None


def test_repos_that_do_not_trust_the_job(client: Hub) -> None:
    """The Hub's words, and the claims of this job that a trusted publisher can be made of."""
    with pytest.raises(ReleaseError, match="acme/other has no trusted publisher") as raised:
        check_access(client, {REPO: True, "acme/other": True})
    assert f"issuer {ISSUER}" in str(raised.value.remedy)
    assert "repository = acme/train" in str(raised.value.remedy)
    found = standing(client, "acme/other")  # it is public, and read as a guest
    assert found is not None and not found.private


def test_without_an_identity(server: EmbeddedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of CI, and where the workflow does not ask for an identity, it is told how to get one."""
    identity = Identity(server.url, REPO)
    for name in (
        "HF_OIDC_ID_TOKEN",
        "GITHUB_ACTIONS",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ToolError, match="has no identity that the Hub takes, to publish without a token, as HF_OIDC_RESOURCE asks"
    ) as raised:
        identity.check({REPO: True})
    assert "id-token: write" in str(raised.value.remedy)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(ToolError, match="id-token: write"):
        identity.check({REPO: True})


def test_on_github(server: EmbeddedHub, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub is asked for an identity for this Hub, by each exchange; what was got is used again, until shortly before
    it ends."""
    audiences = []

    class GitHub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "Bearer runner"
            audiences.append(parse_qs(urlsplit(self.path).query)["audience"][0])
            body = json.dumps({"value": issuer.identity(audiences[-1])}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.delenv("HF_OIDC_ID_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitHub) as github:
        threading.Thread(target=github.serve_forever, daemon=True).start()
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"http://127.0.0.1:{github.server_address[1]}/token?api=2")
        identity = Identity(server.url, REPO)
        for _ in range(2):
            assert identity.writing(REPO).model_info(REPO).private
        with pytest.raises(ReleaseError, match="acme/other"):
            identity.check({REPO: True, "acme/other": True})
        github.shutdown()
    assert audiences == [server.url] * 2


def test_remedies_say_what_is_wrong_with_an_identity(
    server: EmbeddedHub, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has ended, is for another Hub, or is none, is not the repo's settings' fault."""
    for identity, told in (
        (issuer.identity(server.url, exp=1_000_000), "has ended"),
        (
            issuer.identity("https://huggingface.co"),
            f"is for https://huggingface.co: have CI make it with aud: {server.url}",
        ),
        ("abc", "HF_OIDC_ID_TOKEN is no identity"),
    ):
        monkeypatch.setenv("HF_OIDC_ID_TOKEN", identity)
        with pytest.raises(ReleaseError) as raised:
            Identity(server.url, REPO).check({REPO: True})
        assert told in str(raised.value.remedy)


def test_the_client_exchanges_nothing_by_itself(client: Hub, tmp_path: Path) -> None:
    """Copies are looked up by a client of its own making, which would ask another Hub for a token."""
    assert "HF_OIDC_RESOURCE" not in os.environ
    publish(client, upload(tmp_path, tag=None))
    (commit,) = [client.of(REPO).model_info(REPO).sha]
    copied = client.of(REPO).create_commit(
        REPO,
        [CommitOperationCopy("model.safetensors", "copy.safetensors"), CommitOperationCopy("README.md", "copy.md")],
        commit_message="Copy",
        parent_commit=commit,
    )
    assert {"copy.safetensors", "copy.md"} <= set(client.of(REPO).list_repo_files(REPO, revision=copied.oid))


def test_hub_that_is_away(monkeypatch: pytest.MonkeyPatch, issuer: Issuer) -> None:
    """That is no matter of trust."""
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", issuer.identity("http://127.0.0.1:9"))
    with pytest.raises(ToolError, match="could not be reached to exchange this job's identity"):
        Identity("http://127.0.0.1:9", REPO).check({REPO: True})


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "e30.e30.e30", "a.W10.b", "a." + "A" * 9])
def test_claims_of_anything(text: str) -> None:
    """What is no identity says nothing."""
    assert claims_of(text) == {}


def test_the_embedded_hub_needs_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rehearsal is no matter of tokens, whatever the environment asks for."""
    monkeypatch.setenv("HF_OIDC_RESOURCE", REPO)
    with open_hub("embedded", "acme", tmp_path) as hub:
        assert hub.identity is None
