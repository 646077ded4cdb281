"""Histories that become shorter: squashed, without some large files; copies; what a commit must not do."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError
from tagship.hub_server.app import EmbeddedHub

from tests.hub_server.asking import ask

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token=False)
    api.create_repo(REPO)
    return api


def commit(api: HfApi, files: dict[str, bytes], **options: str) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return str(api.create_commit(REPO, operations, commit_message="files", **options).oid)


def test_super_squash(api: HfApi) -> None:
    """The branch has one commit with the same files; others keep theirs."""
    for number in range(3):
        commit(api, {"a.txt": b"%d" % number})
    api.create_branch(REPO, branch="kept")
    api.super_squash_history(REPO, commit_message="One")
    assert [one.title for one in api.list_repo_commits(REPO)] == ["One"]
    assert len(api.list_repo_commits(REPO, revision="kept")) == 4
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "a.txt"}
    with pytest.raises(HfHubHTTPError, match="404"):
        api.super_squash_history(REPO, branch="missing")


def test_large_files(api: HfApi, tmp_path: Path) -> None:
    """Large files of all refs are listed once; those that are deleted are in no commit, branch or tag any longer."""
    first = commit(api, {"a.bin": b"\0a" * 900, "a.txt": b"a"})
    api.create_tag(REPO, tag="v1", tag_message="First")
    commit(api, {"b.bin": b"\0b" * 900})
    api.create_branch(REPO, branch="other")
    commit(api, {"c.bin": b"\0c" * 900}, revision="other")
    api.create_commit(REPO, [CommitOperationDelete("a.bin")], commit_message="gone")
    found = {file.filename: file for file in api.list_lfs_files(REPO)}
    assert {name: (file.size, file.ref) for name, file in found.items()} == {
        "a.bin": (1800, "refs/heads/main"),
        "b.bin": (1800, "refs/heads/main"),
        "c.bin": (1800, "refs/heads/other"),
    }
    commits = [one.title for one in api.list_repo_commits(REPO)]
    api.permanently_delete_lfs_files(REPO, [found["a.bin"]])
    assert {file.filename for file in api.list_lfs_files(REPO)} == {"b.bin", "c.bin"}
    assert [one.title for one in api.list_repo_commits(REPO)] == commits
    assert set(api.list_repo_files(REPO, revision="v1")) == {".gitattributes", "a.txt"}
    assert "c.bin" in api.list_repo_files(REPO, revision="other")
    assert api.model_info(REPO, revision="v1").sha != first
    assert [ref.name for ref in api.list_repo_refs(REPO).tags] == ["v1"]
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "a.bin", revision="v1", cache_dir=tmp_path)
    with pytest.raises(BadRequestError, match="rewriteHistory"):
        api.permanently_delete_lfs_files(REPO, [found["b.bin"]], rewrite_history=False)


def test_file_over_a_folder(api: HfApi) -> None:
    """A file never takes the place of a folder, nor a folder that of a file, unless the commit removes it."""
    head = commit(api, {"a/b.txt": b"b", "c": b"c"})
    for path in ("a", "c/d.txt"):
        with pytest.raises(BadRequestError, match="exists where you're trying to create"):
            commit(api, {path: b"x"})
    with pytest.raises(BadRequestError, match="exists where you're trying to create"):
        commit(api, {"n": b"x", "n/m": b"x"})
    assert api.model_info(REPO).sha == head
    operations = [CommitOperationDelete("a/"), CommitOperationAdd("a", b"x")]
    api.create_commit(REPO, operations, commit_message="replace")
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "a", "c"}


def test_folder_deleted_as_a_file(api: HfApi) -> None:
    """A folder is deleted also where the client takes it for a file."""
    commit(api, {"a/b.txt": b"b", "a/c/d.txt": b"d", "ab.txt": b"x"})
    api.create_commit(REPO, [CommitOperationDelete("a")], commit_message="delete")
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "ab.txt"}


def test_duplicate(api: HfApi, hub: EmbeddedHub) -> None:
    """A copy has all branches and tags, and a life of its own."""
    head = commit(api, {"a.txt": b"a", "w.bin": b"\0w" * 900})
    api.create_tag(REPO, tag="v1")
    assert api.duplicate_repo(REPO, "other/copy", private=True).repo_id == "other/copy"
    copy = api.model_info("other/copy", revision="v1")
    assert (copy.sha, copy.private) == (head, True)
    api.delete_file("a.txt", "other/copy")
    assert "a.txt" in api.list_repo_files(REPO)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.duplicate_repo(REPO, "other/copy")
    assert api.duplicate_repo(REPO, "other/copy", exist_ok=True).repo_id == "other/copy"


def test_conditions(api: HfApi, hub: EmbeddedHub) -> None:
    """Who has a file is told so, and half a file goes on only if it is still the same one."""
    commit(api, {"a.txt": b"0123456789", "w.bin": b"\0123456789"})
    for name in ("a.txt", "w.bin"):
        path = f"/{REPO}/resolve/main/{name}"
        etag = ask(hub, path)[1]["etag"]
        status, headers, body = ask(hub, path, if_none_match=f'"x", W/{etag}')
        assert (status, headers["etag"], body) == (304, etag, b"")
        assert ask(hub, path, if_none_match='"x"')[0] == 200
        assert ask(hub, path, range="bytes=2-4", if_range=etag)[2] == ask(hub, path)[2][2:5]
        status, _, body = ask(hub, path, range="bytes=2-4", if_range='"x"')
        assert (status, len(body)) == (200, len(ask(hub, path)[2]))
