"""The repository of a release: real git repositories, made by git itself."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git import Repository

from tests.conftest import GitFolder


@pytest.fixture
def opened(repository: GitFolder) -> Iterator[Repository]:
    """The repository with one commit, as the pipeline opens it."""
    repository.write("kept.txt")
    repository.write("other.txt", "another text\n" * 5)
    repository.commit()
    with Repository(repository.folder) as opened:
        yield opened


def test_no_repository(tmp_path: Path) -> None:
    """A folder outside of any repository is refused with how to make one."""
    with pytest.raises(ReleaseError, match="is in no git repository") as caught:
        Repository(tmp_path)
    assert "git init" in str(caught.value.remedy)


def test_no_folder(tmp_path: Path) -> None:
    """A folder that does not exist is in no repository."""
    with pytest.raises(ReleaseError, match="is in no git repository"):
        Repository(tmp_path / "missing")


def test_no_commit(repository: GitFolder) -> None:
    """A repository without commits has no HEAD to release."""
    with Repository(repository.folder) as opened, pytest.raises(ReleaseError, match="has no commit yet"):
        opened.head()


def test_head(repository: GitFolder, opened: Repository) -> None:
    """HEAD is the commit's full hash, and its committer's time in UTC."""
    assert opened.head().sha == repository.git("rev-parse", "HEAD")
    assert opened.head().time == datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
    assert opened.head().time.utcoffset() == UTC.utcoffset(None)


def test_detached_head(repository: GitFolder, opened: Repository) -> None:
    """A commit that is checked out without a branch, as CI does it, is HEAD."""
    first = opened.head().sha
    repository.commit("Second")
    repository.git("checkout", "--quiet", "--detach", first)
    assert opened.head().sha == first


def test_annotated_tag(repository: GitFolder, opened: Repository) -> None:
    """An annotated tag has the commit it names, and its whole message."""
    repository.tag("v1.0.0", "First release\n\n- Nested schemas")
    tag = opened.tag("v1.0.0")
    assert (tag.name, tag.commit) == ("v1.0.0", opened.head())
    assert tag.annotated
    assert str(tag.message).strip() == "First release\n\n- Nested schemas"


def test_lightweight_tag(repository: GitFolder, opened: Repository) -> None:
    """A lightweight tag has a commit and no message."""
    repository.tag("v1.0.0")
    tag = opened.tag("v1.0.0")
    assert (tag.commit, tag.message, tag.annotated) == (opened.head(), None, False)


@pytest.mark.parametrize("kind", ["PGP SIGNATURE", "SSH SIGNATURE", "SIGNED MESSAGE"])
def test_signature_is_no_message(repository: GitFolder, opened: Repository, kind: str) -> None:
    """The signature of a signed tag, which git keeps behind the message, is not a part of it."""
    repository.tag(
        "v1.0.0", f"Signed release\n\n- Nested schemas\n-----BEGIN {kind}-----\nU1NIU0lH\n-----END {kind}-----"
    )
    assert str(opened.tag("v1.0.0").message).strip() == "Signed release\n\n- Nested schemas"


def test_tag_of_an_earlier_commit(repository: GitFolder, opened: Repository) -> None:
    """A tag that is not at HEAD has the commit it is on."""
    repository.tag("v1.0.0", "First")
    first = opened.head()
    repository.commit("Second")
    assert opened.tag("v1.0.0").commit == first
    assert opened.head() != first


def test_tag_with_a_slash(repository: GitFolder, opened: Repository) -> None:
    """A tag's name is its whole name, slashes included."""
    repository.tag("release/1.0")
    assert opened.tag("release/1.0").name == "release/1.0"
    assert opened.tags_at(opened.head()) == ("release/1.0",)


def test_no_such_tag(repository: GitFolder, opened: Repository) -> None:
    """A tag that does not exist is refused with the command that makes it, and the newest that there are."""
    with pytest.raises(ReleaseError, match=r"there is no tag 'v9\.0\.0'") as caught:
        opened.tag("v9.0.0")
    assert str(caught.value.remedy) == 'git tag v9.0.0 -m "Release v9.0.0: …"'
    repository.tag("v1.0.0")
    with pytest.raises(ReleaseError) as caught:
        opened.tag("v9.0.0")
    assert str(caught.value.remedy).startswith("name one that there is, such as v1.0.0, or make it: git tag v9.0.0 ")


def test_branch_is_no_tag(opened: Repository) -> None:
    """A branch, or HEAD, is not taken for a tag."""
    for name in ("main", "HEAD"):
        with pytest.raises(ReleaseError, match="there is no tag"):
            opened.tag(name)


def test_tag_of_no_commit(repository: GitFolder, opened: Repository) -> None:
    """A tag that names a file's content is refused: it tells no state of the code."""
    repository.git("tag", "v1.0.0", repository.git("rev-parse", "HEAD:kept.txt"))
    with pytest.raises(ReleaseError, match=r"the tag 'v1\.0\.0' names no commit"):
        opened.tag("v1.0.0")


def test_tags_at(repository: GitFolder, opened: Repository) -> None:
    """All tags on a commit are found, annotated or not, and none of another commit."""
    repository.tag("v1.0.0", "First")
    first = opened.head()
    repository.commit("Second")
    repository.tag("v2.0.0", "Second")
    repository.tag("nightly")
    assert set(opened.tags_at(first)) == {"v1.0.0"}
    assert set(opened.tags_at(opened.head())) == {"v2.0.0", "nightly"}


def test_tags_of_tags(repository: GitFolder, opened: Repository) -> None:
    """A tag of a tag, such as a candidate that was promoted, is on the commit too, with its own message."""
    repository.tag("v1.0.0-rc.1", "Candidate")
    repository.git("tag", "v1.0.0", "v1.0.0-rc.1", "--message", "Promoted")
    repository.git("tag", "model-v1.0.0", "v1.0.0", "--message", "Again")
    names = ("model-v1.0.0", "v1.0.0", "v1.0.0-rc.1")
    assert opened.tags_at(opened.head()) == names and opened.tags_on(opened.head().sha) == names
    assert opened.tag("v1.0.0").message == "Promoted\n"
    assert opened.tag("model-v1.0.0").commit == opened.head()


def test_repository_of_another_user(opened: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git says of it is told, with the command that it names; it is not taken for one without a commit."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ToolError, match=r"dubious ownership[\s\S]*safe\.directory"):
        opened.head()


def test_another_object_format(
    tmp_path: Path, git_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository of SHA-256 is read as any other."""
    for name, value in git_environment.items():
        monkeypatch.setenv(name, value)
    folder = GitFolder(folder=tmp_path)
    folder.git("init", "--quiet", "--object-format=sha256")
    folder.write("a.txt", "text\n")
    sha = folder.commit("First")
    folder.tag("v1.0.0", "Of it")
    with Repository(tmp_path) as opened:
        assert opened.head().sha == sha and len(sha) == 64
        assert opened.tag("v1.0.0").message == "Of it\n" and opened.tags_at(opened.head()) == ("v1.0.0",)
        assert opened.file_at("HEAD", tmp_path / "a.txt") == b"text\n"
        assert [commit.message for commit in opened.log(None, "HEAD")] == ["First"]


def test_no_tags(opened: Repository) -> None:
    """A commit without tags has none."""
    assert opened.tags_at(opened.head()) == ()


def test_clean_tree(repository: GitFolder, opened: Repository) -> None:
    """What is committed or ignored is no change."""
    repository.write(".gitignore", "*.log\n")
    repository.commit()
    repository.write("train.log")
    assert opened.changed_paths() == ()


def test_changed_paths(repository: GitFolder, opened: Repository) -> None:
    """Modified, staged, deleted and untracked files are changes, each once and by its whole name."""
    repository.write("deleted.txt")
    repository.commit()
    repository.write("kept.txt", "changed\n")
    repository.write("staged ümlaut.txt")
    repository.git("add", "staged ümlaut.txt")
    (repository.folder / "deleted.txt").unlink()
    repository.write("new folder/untracked.txt")
    assert sorted(opened.changed_paths()) == ["deleted.txt", "kept.txt", "new folder/", "staged ümlaut.txt"]


def test_renamed_file(repository: GitFolder, opened: Repository) -> None:
    """A renamed file is told by its whole names, the old and the new one."""
    repository.git("mv", "other.txt", "renamed.txt")
    assert set(opened.changed_paths()) == {"other.txt", "renamed.txt"}


def test_hidden_untracked_files(repository: GitFolder, opened: Repository) -> None:
    """Untracked files count although the user's configuration hides them from git status."""
    repository.git("config", "status.showUntrackedFiles", "no")
    repository.write("untracked.txt")
    assert opened.changed_paths() == ("untracked.txt",)


def test_folders_left_out(repository: GitFolder, opened: Repository) -> None:
    """The folders of the release itself are left out; others, and names that begin alike, are not."""
    own = [repository.folder / name for name in ("exports", "dist", ".tagship")]
    for name in ("exports/run/model", "dist/a.tar.gz", ".tagship/state.json", "exports-old/model", "src/dist/x"):
        repository.write(name)
    assert set(opened.changed_paths(own)) == {"exports-old/", "src/"}


def test_folder_left_out_stands_for_itself(repository: GitFolder, opened: Repository) -> None:
    """Brackets and stars in a folder's name are no pattern."""
    repository.write("[ab]/x")
    repository.write("a")
    assert opened.changed_paths([repository.folder / "[ab]"]) == ("a",)


def test_folder_left_out_elsewhere(repository: GitFolder, opened: Repository, tmp_path: Path) -> None:
    """A folder outside of the repository is left out without a word."""
    repository.write("untracked.txt")
    assert opened.changed_paths([tmp_path / "exports"]) == ("untracked.txt",)


def test_project_in_a_subfolder(repository: GitFolder) -> None:
    """A project below its repository's root is of that repository, and a change anywhere in it counts."""
    repository.write("models/release.toml")
    repository.commit()
    repository.write("models/exports/x")
    repository.write("src/changed.py")
    with Repository(repository.folder / "models") as opened:
        assert opened.folder == repository.folder
        assert opened.changed_paths([repository.folder / "models" / "exports"]) == ("src/",)


def test_worktree(repository: GitFolder, opened: Repository, tmp_path: Path) -> None:
    """A linked work tree has its own HEAD and its own changes."""
    first = opened.head()
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), "HEAD")
    repository.commit("Second")
    (tmp_path / "linked" / "new.txt").write_text("x")
    with Repository(tmp_path / "linked") as linked:
        assert linked.head() == first
        assert linked.changed_paths() == ("new.txt",)


def test_git_that_fails(repository: GitFolder, opened: Repository) -> None:
    """What git itself refuses is told in its own words."""
    head = opened.head()
    (repository.folder / ".git" / "index").write_bytes(b"broken")
    with pytest.raises(ToolError, match=r"git status: .*index file"):
        opened.changed_paths()
    repository.git("config", "core.repositoryformatversion", "99")
    with pytest.raises(ToolError, match=r"git for-each-ref: .*repo version"):
        opened.tags_at(head)


def test_what_no_commit_has(repository: GitFolder, opened: Repository, tmp_path: Path) -> None:
    """Files and folders are told as far as they are not committed as they are: changed, untracked, ignored, in a folder
    that is untracked as a whole, or outside of the repository, also behind a link."""
    policy, templates = repository.write("a b/release.toml", "1"), repository.folder / "a b/templates"
    assert opened.uncommitted([policy, templates]) == ("a b/release.toml",)
    repository.write("a b/templates/ü.j2")
    assert opened.uncommitted([policy, templates]) == ("a b/release.toml", "a b/templates/ü.j2")
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message", "feat: all")
    repository.write("a b/templates2/x.j2")
    repository.write(".gitignore", "own.toml\n*.bak\nhidden/")
    repository.write("a b/templates/ü.j2.bak")
    assert opened.uncommitted([policy, templates]) == ()
    repository.write("hidden/x.j2")
    assert opened.uncommitted([repository.folder / "hidden"]) == ("hidden/",)
    policy.write_text("2")
    ignored, outside = repository.write("own.toml"), tmp_path / "elsewhere"
    outside.mkdir()
    assert opened.uncommitted([policy, ignored, outside]) == ("a b/release.toml", "own.toml", outside.as_posix())
    (repository.folder / "link").symlink_to(outside)
    assert opened.uncommitted([repository.folder / "link"]) == ("link", outside.as_posix())
    assert opened.uncommitted([outside]) == (outside.as_posix(),)
