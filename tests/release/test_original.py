"""What a manifest says, which is anybody's to write, before anything is done by it."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.release.original import check_manifest
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git import Repository
from tagship.system.git_clone import clone_at, tag_as

from tests import tiny
from tests.conftest import GitFolder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("commit", ["--upload-pack=touch it", "HEAD", "", COMMIT[:39], f"{COMMIT}\n"])
def test_what_is_no_commit(commit: str) -> None:
    """A commit is a whole hash, and never an option of git."""
    with pytest.raises(ReleaseError, match="names no commit"):
        check_manifest(replace(tiny.manifest(), commit=commit))


@pytest.mark.parametrize("run", ["../elsewhere", "/etc", "a/b", "..", ""])
def test_what_is_no_run(run: str) -> None:
    """A run is one name: what is linked under it stays in the folder that it is linked in."""
    with pytest.raises(ReleaseError, match="names no run"):
        check_manifest(replace(tiny.manifest(), run=run))


@pytest.mark.parametrize("source", ["ext::sh -c touch% ran", "--upload-pack=touch ran", "file:///", None])
def test_only_web_addresses_are_fetched_from(project: GitFolder, tmp_path: Path, source: str | None) -> None:
    """Nothing is run by an address, and nothing read from this machine."""
    with Repository(project.folder) as here, pytest.raises(ReleaseError, match="does not have the commit"):
        clone_at(COMMIT, tmp_path / "clone", here=here, elsewhere=source)
    assert not list(tmp_path.rglob("ran"))


def test_a_clone_takes_nothing(project: GitFolder, tmp_path: Path) -> None:
    """A commit is checked out with its tags, without a copy of its objects; a tag that is elsewhere by now is on it in
    the clone alone."""
    first = project.git("rev-parse", "HEAD")
    project.write("later.txt")
    later = project.commit("Later")
    project.tag("v1.0.0")
    before = project.git("for-each-ref")
    with Repository(project.folder) as here:
        clone_at(first, tmp_path / "clone", here=here, elsewhere=None)
    clone = GitFolder(folder=tmp_path / "clone")
    assert clone.git("rev-parse", "HEAD") == first and not (clone.folder / "later.txt").exists()
    assert tag_as(clone.folder, "v1.0.0", first) == later and clone.git("rev-parse", "v1.0.0") == first
    assert not list((clone.folder / ".git/objects").glob("??/*"))
    assert project.git("for-each-ref") == before and project.git("worktree", "list").count("\n") == 0
    with pytest.raises(ToolError):
        tag_as(clone.folder, "../heads/it", first)
