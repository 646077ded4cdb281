"""Each request of a release to a Hub goes wrong, in each way: the same command finishes it, and nothing is mixed."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.artifacts.manifest import list_files
from tagship.hub.access import check_access
from tagship.hub.base_repo import check_base, publish_base, why_not_fetchable
from tagship.hub.connection import Hub, open_hub
from tagship.hub.publish import check_published, publish, tag_published
from tagship.hub.repository import standing
from tagship.hub.upload import Commit, Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of

from tests.hub.faulty import FAULTS, Plan, proxy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_client")]

# Every so many requests, from another one for each fault; FAULTS_EACH=1 takes them all, in half an hour.
EACH = int(os.environ.get("FAULTS_EACH", "18"))
BASE, REPO, TAG = "acme/base", "acme/model-v1.0.0", "v1.0.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text('{"vocab_size": 10}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# It\n")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


def release(hub: Hub, folder: Path) -> None:
    """All that a release asks of a Hub."""
    base = BaseModel(id=BASE, path=folder, license="mit", publish=True)
    local = BaseFolder(id=BASE, path=folder, revision=None, license="mit")
    upload = Upload(
        repo_id=REPO,
        folder=folder,
        files=list_files(folder),
        private=False,
        message="Release v1.0.0",
        description="",
        tag=TAG,
    )
    check_access(hub, {REPO: standing(hub, REPO) is not None, BASE: standing(hub, BASE) is not None})
    why_not_fetchable(hub, base, private=False)
    publish_base(hub, local, sha256_of, private=False)
    commit = publish(hub, upload)
    check_published(hub, upload, commit)
    tag_published(hub, upload, commit)


def check_result(hub: EmbeddedHub, folder: Path) -> None:
    """Both repos have exactly the files, in one commit after the Hub's own; the tag is on it."""
    with open_hub(hub.url, "acme", folder) as direct:
        for repo_id in (BASE, REPO):
            commits = [commit.title for commit in direct.api.list_repo_commits(repo_id)]
            assert len(commits) == 2, commits
        upload = Upload(
            repo_id=REPO, folder=folder, files=list_files(folder), private=False, message="", description="", tag=TAG
        )
        (tag,) = direct.api.list_repo_refs(REPO).tags
        assert tag.target_commit == direct.api.model_info(REPO).sha
        check_published(direct, upload, Commit(sha=tag.target_commit))
        check_published(direct, replace(upload, repo_id=BASE), Commit(sha=str(direct.api.model_info(BASE).sha)))
        local = BaseFolder(id=BASE, path=folder, revision=None, license="mit")
        assert check_base(direct, local, sha256_of)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Whatever goes wrong is got over, or is a message that says how to go on; the same command then finishes."""
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("tagship.hub.http_client.sleep", lambda seconds: None)
    at, number, went = FAULTS.index(fault) % EACH, 0, 0
    while True:
        plan = Plan(at=at, fault=fault)
        with (
            EmbeddedHub(root=tmp_path / f"{at}") as hub,
            proxy(hub.url, plan) as address,
            open_hub(address, "acme", tmp_path) as opened,
        ):
            try:
                release(opened, folder)
            except ReleaseError as error:
                assert "Traceback" not in str(error)
                if "same command goes on" not in (error.remedy or ""):
                    assert fault in ("401", "404", "half", "null", "html", "empty"), (
                        plan.seen[at],
                        error,
                        error.remedy,
                    )
            else:
                went += 1
            if len(plan.seen) <= at:  # there was no request of this number any more
                break
            plan.at = -1
            release(opened, folder)
            check_result(hub, folder)
        at += EACH
        number += 1
    print(
        f"\n{fault}: {number} requests, {went - 1} got over at once, {number - went + 1} finished by the same command"
    )
    assert at > 30
