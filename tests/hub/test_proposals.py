"""Releases that are proposed in pull requests, by those who may not write."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from msgspec.structs import replace
from tagship.artifacts.manifest import MANIFEST_FILE, file_entry, list_files, write_manifest
from tagship.hub.access import check_access
from tagship.hub.branches import Version
from tagship.hub.connection import Hub
from tagship.hub.proposals import page_of
from tagship.hub.publish import check_published, publish, tag_published
from tagship.hub.repository import tags_of
from tagship.hub.upload import Commit, Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError, ToolError

from tests import tiny
from tests.hub_server.team import TEAM, Api, api_of

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"

As = Callable[[str], Hub]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with EmbeddedHub(root=tmp_path / "hub", directory=TEAM) as running:
        yield api_of(running)


@pytest.fixture
def by(api: Api) -> As:
    """A function that opens the Hub as one who has a token."""

    def opened(token: str) -> Hub:
        client = api(token)
        return Hub(lambda: client, embedded=False)

    return opened


def upload(folder: Path, version: str = "1.0.0", weights: str = "weights") -> Upload:
    """A release that is proposed."""
    folder = folder / version / weights
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights * 100)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# It\n")
    manifest = tiny.manifest(repo_id=REPO, version=version, tag=f"v{version}", files=list_files(folder))
    write_manifest(folder, manifest)
    return Upload(
        repo_id=REPO,
        folder=folder,
        files=(*manifest.files, file_entry(folder, MANIFEST_FILE)),
        private=False,
        message=f"Release v{version}",
        description="Verified.",
        tag=f"v{version}",
        proposes=True,
    )


def requests_of(api: HfApi) -> list[str]:
    return [request.git_reference or "" for request in api.get_repo_discussions(REPO, discussion_status="open")]


@pytest.mark.parametrize("who", ["carol", "alice-proposes"])
def test_proposed_then_merged(api: Api, by: As, tmp_path: Path, who: str) -> None:
    """One who may only propose makes a pull request with exactly the release's files; main and tags stay. When it is
    merged, the same command of one who may write makes no commit, and sets the tag."""
    api("alice").create_repo(REPO)
    api("alice").create_commit(REPO, [CommitOperationAdd("old.bin", b"\0" * 100)], commit_message="old")
    head = api("alice").model_info(REPO).sha
    put = upload(tmp_path)
    check_access(by(who), {REPO: True}, proposes=True)
    made = publish(by(who), put)
    assert made.branch == "refs/pr/1" == made.revision
    assert check_published(by(who), put, made) == put.files
    page = page_of(by(who), REPO, made.branch)
    assert page == f"{api('').endpoint}/{REPO}/discussions/1"
    assert (api("").model_info(REPO).sha, api("").list_repo_refs(REPO).tags) == (head, [])
    with pytest.raises(ToolError):
        publish(by(who), replace(put, proposes=False))
    api("alice").merge_pull_request(REPO, 1)
    merged = api("").model_info(REPO).sha
    again = publish(by(who), put)
    assert again == Commit(sha=str(merged)) and page_of(by(who), REPO, again.branch) is None
    written = replace(put, proposes=False)
    tag_published(by("alice"), written, publish(by("alice"), written))
    assert tags_of(by("alice"), REPO) == {"v1.0.0": merged}
    assert "old.bin" not in api("").list_repo_files(REPO)


def test_proposed_onto_another_main(api: Api, by: As, tmp_path: Path) -> None:
    """A pull request that cannot be merged any more, as another one was, is not waited for: a new one is made."""
    api("alice").create_repo(REPO)
    first, second = upload(tmp_path, "1.0.0", "one"), upload(tmp_path, "1.0.1", "two")
    publish(by("carol"), first)
    assert publish(by("carol"), second).branch == "refs/pr/2"
    api("alice").merge_pull_request(REPO, 1)
    assert publish(by("carol"), second).branch == "refs/pr/3"
    assert publish(by("carol"), second).branch == "refs/pr/3"
    api("alice").merge_pull_request(REPO, 3)


def test_proposed_again(api: Api, by: As, tmp_path: Path) -> None:
    """The same release is proposed once; another one of the same name, also by somebody else, is never written onto."""
    api("alice").create_repo(REPO)
    first = publish(by("carol"), upload(tmp_path))
    assert publish(by("carol"), replace(upload(tmp_path / "again"), folder=upload(tmp_path / "more").folder)) == first
    assert requests_of(api("")) == ["refs/pr/1"]
    other = upload(tmp_path, weights="other")
    made = publish(by("bob"), other)
    assert made.branch == "refs/pr/2"
    assert check_published(by("bob"), other, made) == other.files
    assert check_published(by("carol"), upload(tmp_path / "last"), first)


def test_interrupted(api: Api, by: As, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was ended before its pull request shows nothing; one whose answer was lost is found."""
    api("alice").create_repo(REPO)
    hub, put = by("carol"), upload(tmp_path)
    create = hub.api.create_commit

    def lost(*arguments: object, **options: object) -> None:
        create(*arguments, **options)  # type: ignore[call-overload]
        raise ToolError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(hub.api, "create_commit", lost)
        made = publish(hub, put)
    assert made.branch == "refs/pr/1"
    assert publish(hub, put) == made


def test_nothing_to_propose_to(by: As, tmp_path: Path) -> None:
    """A repo is not made by one who only proposes."""
    with pytest.raises(ReleaseError, match="there is no repo acme/model to propose a release to"):
        publish(by("carol"), upload(tmp_path))


def test_version_that_is_not_main(api: Api, by: As, tmp_path: Path) -> None:
    """A prerelease among other versions is not proposed: pull requests are to main."""
    api("alice").create_repo(REPO)
    trial = upload(tmp_path, "1.0.0-rc.1")
    trial = replace(trial, version=Version(tag="v1.0.0-rc.1", number="1.0.0-rc.1"))
    with pytest.raises(ReleaseError, match="does not become the main of acme/model"):
        publish(by("alice"), trial)
    assert [branch.name for branch in api("").list_repo_refs(REPO).branches] == ["main"]
