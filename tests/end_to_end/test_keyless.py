"""A release from CI that has no stored token."""

from pathlib import Path

from huggingface_hub import HfApi
from msgspec.structs import replace
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.directory import Publisher

from tests.end_to_end.conftest import Project
from tests.hub_server.issuer import CLAIMS, ISSUER, Issuer
from tests.hub_server.team import TEAM

REPOS = ("acme/phi3avro", "acme/phi3avro-minimal-lora-v1.0.0")


def test_release_without_a_token(project: Project, tmp_path: Path) -> None:
    """Repos that nobody made are listed before anything is exported, by `doctor` too; once they are there and trust the
    job, the release goes on each with its own token, and sets its tag."""
    issuer = Issuer()
    keys = issuer.write_keys(tmp_path / "jwks.json")
    publishers = tuple(Publisher(repo_id=repo_id, issuer=ISSUER, claims=CLAIMS, keys=keys) for repo_id in REPOS)
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    with EmbeddedHub(root=tmp_path / "hub", directory=replace(TEAM, publishers=publishers)) as hub:
        job = {"HF_OIDC_RESOURCE": REPOS[1], "HF_OIDC_ID_TOKEN": issuer.identity(hub.url)}
        options = ("--hub", hub.url, "--format", "lora", "--json")
        for verb in ("release", "doctor"):
            refused = project.invoke(verb, *options, **job)
            assert refused.code == 1
            assert "keyless publishing cannot make a repo" in refused.stdout + refused.stderr
            assert all(repo_id in refused.stdout + refused.stderr for repo_id in REPOS)
        assert not (project.folder / "exports").exists()
        alice = HfApi(endpoint=hub.url, token="alice")
        for repo_id in REPOS:
            alice.create_repo(repo_id)
        done = project.invoke("release", *options, **job)
        assert done.code == 0, done.stderr
        (entry,) = done.document["formats"]
        refs = alice.list_repo_refs(REPOS[1])
        assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1.0.0", entry["commit"])]
        assert "model.safetensors.index.json" in alice.list_repo_files(REPOS[0])
        assert project.invoke("audit", "--hub", hub.url, "--tag", "v1.0.0", **job).code == 0
