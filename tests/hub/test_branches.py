"""Repos that have several versions: main is the newest final one, and every version has its tag."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from tagship.artifacts.manifest import MANIFEST_FILE, file_entry, list_files, write_manifest
from tagship.hub.branches import Version
from tagship.hub.connection import Hub
from tagship.hub.publish import check_published, publish, tag_published
from tagship.hub.repository import tags_of
from tagship.hub.upload import Commit, Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError, ToolError

from tests import tiny

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/phi3-minimal-vllm"


@pytest.fixture
def client(hub: EmbeddedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=hub.url, token=False)
    yield Hub(lambda: api, embedded=False)


def upload(folder: Path, version: str, *, weights: str | None = None) -> Upload:
    """A version with a file of its own."""
    folder = folder / version
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights or f"weights of {version}" * 100)
    (folder / f"only-{version}.json").write_text("{}")
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n\n# {version}\n")
    tag = f"v{version}"
    manifest = tiny.manifest(repo_id=REPO, version=version, tag=tag, files=list_files(folder))
    write_manifest(folder, manifest)
    return Upload(
        repo_id=REPO,
        folder=folder,
        files=(*manifest.files, file_entry(folder, MANIFEST_FILE)),
        private=False,
        message=f"Release {tag}",
        description="",
        tag=tag,
        version=Version(tag=tag, number=version),
    )


def release(client: Hub, put: Upload) -> Commit:
    commit = publish(client, put)
    check_published(client, put, commit)
    tag_published(client, put, commit)
    return commit


def on(client: Hub, revision: str) -> set[str]:
    """The files of a revision, as whoever downloads it gets them."""
    folder = Path(snapshot_download(REPO, revision=revision, endpoint=client.url, token=False))
    return {path.name for path in folder.iterdir()} - {".gitattributes"}


def files(version: str) -> set[str]:
    return {"model.safetensors", f"only-{version}.json", "README.md", "release.json"}


def test_versions_follow_each_other(client: Hub, tmp_path: Path) -> None:
    """Each version replaces the files of main in one commit, and its tag gives exactly its files for ever."""
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        assert release(client, upload(tmp_path, version)).branch is None
        assert on(client, "main") == files(version)
    assert all(on(client, f"v{version}") == files(version) for version in ("1.0.0", "1.1.0", "2.0.0"))
    assert len(client.api.list_repo_commits(REPO)) == 4  # the Hub's own, and one of each


def test_prereleases_and_older_lines(client: Hub, tmp_path: Path) -> None:
    """A prerelease and a version below the newest get branches that begin at what they follow, and main stays."""
    for version in ("1.0.0", "2.0.0"):
        release(client, upload(tmp_path, version))
    main = client.api.model_info(REPO).sha
    tags = tags_of(client, REPO)
    for version, follows in (("2.1.0-rc.1", "v2.0.0"), ("1.0.1", "v1.0.0"), ("0.9.0", None)):
        made = release(client, upload(tmp_path, version))
        assert made.branch == f"release-v{version}"
        assert on(client, f"v{version}") == files(version)
        parent = client.api.list_repo_commits(REPO, revision=made.sha)[1].commit_id
        assert parent == (tags[follows] if follows else client.api.list_repo_commits(REPO)[-1].commit_id)
    assert client.api.model_info(REPO).sha == main
    assert release(client, upload(tmp_path, "2.1.0")).branch is None
    assert on(client, "main") == files("2.1.0")


def test_prerelease_comes_first(client: Hub, tmp_path: Path) -> None:
    """Before there is a final version main is empty."""
    release(client, upload(tmp_path, "1.0.0-rc.1"))
    assert on(client, "main") == set()
    assert on(client, "v1.0.0-rc.1") == files("1.0.0-rc.1")
    release(client, upload(tmp_path, "1.0.0"))
    assert on(client, "main") == files("1.0.0")


def test_builds_of_one_version(client: Hub, tmp_path: Path) -> None:
    """Of two builds of a version neither is the newer one: main stays the first."""
    release(client, upload(tmp_path, "1.0.0+cu124"))
    assert release(client, upload(tmp_path, "1.0.0+cpu")).branch == "release-v1.0.0+cpu"
    assert on(client, "main") == files("1.0.0+cu124")


def test_version_after_a_rollback(client: Hub, tmp_path: Path) -> None:
    """What main has counts, not which tags there are: where it was taken back to an earlier version, the next one of
    that line becomes main."""
    first = release(client, upload(tmp_path, "1.0.0"))
    release(client, upload(tmp_path, "2.0.0"))
    back = [CommitOperationAdd(path.name, path) for path in (tmp_path / "1.0.0").iterdir()]
    client.api.create_commit(REPO, back, commit_message="Restore v1.0.0")
    assert release(client, upload(tmp_path, "1.0.1")).branch is None
    assert on(client, "main") == files("1.0.1")
    assert first.sha == tags_of(client, REPO)["v1.0.0"]


@pytest.mark.parametrize("version", ["2.0.0", "2.0.0-rc.1"])
def test_killed_between_sending_and_committing(
    client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """What was ended before its commit shows nothing, and the same command makes it, once."""
    release(client, upload(tmp_path, "1.0.0"))
    put = upload(tmp_path, version)

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client.api, "create_commit", killed)
        publish(client, put)
    assert on(client, "main") == files("1.0.0")
    made = release(client, put)
    assert release(client, put).sha == made.sha
    assert on(client, f"v{version}") == files(version)
    assert on(client, "main") == files("2.0.0" if version == "2.0.0" else "1.0.0")


def test_killed_before_the_tag(client: Hub, tmp_path: Path) -> None:
    """A commit without its tag is found again, on main and on a branch."""
    for version in ("1.0.0", "1.1.0-rc.1"):
        put = upload(tmp_path, version)
        made = publish(client, put)
        assert release(client, put).sha == made.sha
        assert tags_of(client, REPO)[f"v{version}"] == made.sha


def test_released_version_is_never_changed(client: Hub, tmp_path: Path) -> None:
    """Neither on main nor once another version is there."""
    release(client, upload(tmp_path, "1.0.0"))
    release(client, upload(tmp_path, "1.1.0"))
    with pytest.raises(ReleaseError, match="was released before with other files"):
        publish(client, upload(tmp_path / "again", "1.0.0", weights="other"))
    assert on(client, "main") == files("1.1.0")


def test_commit_of_somebody_else(client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else puts onto the branch in between stays, and is told."""
    release(client, upload(tmp_path, "1.0.0"))
    create = client.api.create_commit

    def after_another(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(client.api, "create_commit", create)
        create(REPO, [CommitOperationAdd("theirs.txt", b"x")], commit_message="theirs")
        return create(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(client.api, "create_commit", after_another)
    with pytest.raises(ToolError, match="commit to"):
        publish(client, upload(tmp_path, "1.1.0"))
    assert "theirs.txt" in on(client, "main")
