"""History, tags and remotes of the repository: real git repositories, made by git itself."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from tagship.system.errors import ToolError
from tagship.system.git import Repository
from tagship.system.git_objects import RemoteTag

from tests.conftest import GitFolder

# What Python's splitlines() takes for the end of a line, and git does not.
SEPARATOR = "\u2028"


@pytest.fixture
def opened(repository: GitFolder) -> Iterator[Repository]:
    """The repository with one commit, as the pipeline opens it."""
    repository.write("first.txt")
    repository.commit("First")
    with Repository(repository.folder) as opened:
        yield opened


@pytest.fixture
def remote(repository: GitFolder, opened: Repository, tmp_path: Path) -> GitFolder:
    """A bare remote, called origin, that has the branch."""
    bare = tmp_path / "remote.git"
    repository.git("clone", "--quiet", "--bare", ".", str(bare))
    repository.git("remote", "add", "origin", str(bare))
    repository.git("fetch", "--quiet")
    return GitFolder(folder=bare)


def shallow_clone(repository: GitFolder, depth: int) -> GitFolder:
    """A clone with the last commits only, and their tags."""
    clone = repository.folder.with_name("shallow")
    repository.git("clone", "--quiet", f"--depth={depth}", f"file://{repository.folder}", str(clone))
    return GitFolder(folder=clone)


def subjects(opened: Repository, since: str | None = None) -> list[str]:
    """The subjects in the log, newest first."""
    return [commit.message.partition("\n")[0] for commit in opened.log(since, "HEAD")]


# The log


def test_logged_commit(repository: GitFolder, opened: Repository) -> None:
    """A commit in the log has its hash, its author, its time in UTC, and its whole message."""
    sha = repository.commit("feat: größer\n\nBody\n\nCloses #1")
    found = opened.log(None, "HEAD")[0]
    assert (found.sha, found.author, found.time) == (sha, "Ada", datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC))
    assert found.message == "feat: größer\n\nBody\n\nCloses #1"
    assert found.paths == ()


def test_log_since(repository: GitFolder, opened: Repository) -> None:
    """The log begins after a tag, newest first; without one it has every commit."""
    repository.tag("v1.0.0", "First")
    repository.commit("Second")
    repository.commit("Third")
    assert subjects(opened, "refs/tags/v1.0.0") == ["Third", "Second"]
    assert subjects(opened) == ["Third", "Second", "First"]
    assert opened.log("HEAD", "HEAD") == []


def test_log_with_merges(repository: GitFolder, opened: Repository) -> None:
    """A merge is in the log, before what it merged, with its parents."""
    repository.git("checkout", "--quiet", "-b", "side")
    repository.write("side.txt")
    repository.commit("Side")
    repository.git("checkout", "--quiet", "main")
    repository.commit("Main")
    repository.git("merge", "--quiet", "--no-ff", "--message=Merge side", "side")
    found = opened.log(None, "HEAD")
    assert sorted(logged.message for logged in found) == ["First", "Main", "Merge side", "Side"]
    assert (found[0].message, found[0].is_merge, len(found[0].parents)) == ("Merge side", True, 2)
    assert not any(logged.is_merge for logged in found[1:])


def test_logged_paths(repository: GitFolder, opened: Repository) -> None:
    """Each commit has the paths that it touched, whatever their names; an empty commit has none."""
    names = ["with space.txt", "größe.txt", 'quo"te', "tab\tin it", "\nnew\nline\n", "a" * 40, "folder/file"]
    for name in names:
        repository.write(name)
    repository.commit("Many")
    repository.commit("Empty")
    repository.write("last.txt")
    repository.commit("Last")
    logged = {commit.message: set(commit.paths) for commit in opened.log(None, "HEAD", with_paths=True)}
    assert logged == {"Last": {"last.txt"}, "Empty": set(), "Many": set(names), "First": {"first.txt"}}


def test_moved_file(repository: GitFolder, opened: Repository) -> None:
    """A moved file touches the place that it left, too."""
    repository.git("mv", "first.txt", "moved.txt")
    repository.commit("Move")
    assert set(opened.log(None, "HEAD", with_paths=True)[0].paths) == {"first.txt", "moved.txt"}


@pytest.mark.parametrize(
    ("key", "value"), [("i18n.logOutputEncoding", "latin1"), ("log.showSignature", "true"), ("diff.renames", "copies")]
)
def test_log_by_any_configuration(repository: GitFolder, opened: Repository, key: str, value: str) -> None:
    """The user's configuration of the log changes nothing of what is read from it."""
    repository.commit("feat: größer")
    before = opened.log(None, "HEAD", with_paths=True)
    repository.git("config", key, value)
    assert opened.log(None, "HEAD", with_paths=True) == before
    assert before[0].message == "feat: größer"


# Shallow clones


@pytest.mark.parametrize(("depth", "missing"), [(1, True), (2, True), (3, False), (4, False)])
def test_missing_history(repository: GitFolder, opened: Repository, depth: int, missing: bool) -> None:
    """History is missing where the clone ends before the tag, and is not where it reaches to it."""
    repository.tag("v1.0.0", "First")
    repository.commit("Second")
    repository.commit("Third")
    clone = shallow_clone(repository, depth)
    with Repository(clone.folder) as shallow:
        since = "refs/tags/v1.0.0" if shallow.has_tag("v1.0.0") else None
        assert shallow.missing_history(since, "HEAD") == missing
        assert (since is None) == missing


def test_missing_history_without_a_release(repository: GitFolder, opened: Repository) -> None:
    """Without a tag to begin at, a shallow clone lacks history, and a whole one does not."""
    repository.commit("Second")
    assert not opened.missing_history(None, "HEAD")
    with Repository(shallow_clone(repository, 1).folder) as shallow:
        assert shallow.missing_history(None, "HEAD")


def test_no_missing_history_at_the_tag(repository: GitFolder, opened: Repository) -> None:
    """A tag on the only commit of a clone misses nothing."""
    repository.commit("Second")
    repository.tag("v1.0.0", "Second")
    with Repository(shallow_clone(repository, 1).folder) as shallow:
        assert not shallow.missing_history("refs/tags/v1.0.0", "HEAD")


def test_missing_history_of_a_merged_branch(repository: GitFolder, opened: Repository) -> None:
    """History is missing where only a merged branch is cut off."""
    repository.git("checkout", "--quiet", "-b", "side")
    for number in range(3):
        repository.commit(f"Side {number}")
    repository.git("checkout", "--quiet", "main")
    repository.tag("v1.0.0", "First")
    repository.commit("Main")
    repository.git("merge", "--quiet", "--no-ff", "--message=Merge", "side")
    with Repository(shallow_clone(repository, 3).folder) as shallow:
        assert shallow.has_tag("v1.0.0")
        assert shallow.missing_history("refs/tags/v1.0.0", "HEAD")


# Tags


def test_listed_tags(repository: GitFolder, opened: Repository) -> None:
    """A listed tag has its commit, its own time, and its message's first line; a lightweight one its commit's."""
    sha = opened.head().sha
    repository.tag("v1.0.0", "Release\n\n- item")
    repository.tag("light")
    listed = {tag.name: tag for tag in opened.list_tags()}
    own = opened.tag_hash("v1.0.0")
    assert own != sha
    assert listed["v1.0.0"] == ("v1.0.0", own, sha, "2025-09-15T14:40:51+02:00", "Release", True)
    assert listed["light"] == ("light", sha, sha, "2025-09-15T14:40:51+02:00", "First", False)


def test_no_listed_tags(opened: Repository) -> None:
    """A repository without tags lists none."""
    assert list(opened.list_tags()) == []
    assert opened.tags_before(opened.head()) == ()


def test_nested_tag(repository: GitFolder, opened: Repository) -> None:
    """A tag of a tag names the commit behind both, wherever it is read."""
    repository.tag("v1.0.0", "Inner")
    repository.git("tag", "v2.0.0", "v1.0.0", "--message=Outer")
    sha = opened.head().sha
    assert {tag.name: tag.commit for tag in opened.list_tags()} == {"v1.0.0": sha, "v2.0.0": sha}
    assert (opened.tag("v2.0.0").commit.sha, str(opened.tag("v2.0.0").message).strip()) == (sha, "Outer")
    assert set(opened.tags_before(opened.head())) == {"v1.0.0", "v2.0.0"}


def test_tags_of_no_commit(repository: GitFolder, opened: Repository) -> None:
    """Tags of a tree or a file are not listed, annotated or not, nor tags of those."""
    for number, target in enumerate(("HEAD:first.txt", "HEAD^{tree}")):
        repository.git("tag", f"light{number}", target)
        repository.git("tag", f"v1.0.{number}", target, "--message=Of no commit")
        repository.git("tag", f"v2.0.{number}", f"v1.0.{number}", "--message=Nested")
    assert list(opened.list_tags()) == []


@pytest.mark.parametrize("name", ["release/1.0", "größe-v1.0.0", "v1.0.0+cu124", "v1-😀", f"x{SEPARATOR}v9.9.9"])
def test_tag_names(repository: GitFolder, opened: Repository, remote: GitFolder, name: str) -> None:
    """A tag keeps its whole name everywhere, with slashes, pluses and any letter, and is one tag."""
    opened.create_tag(name, "Text")
    opened.push_tag("origin", name)
    assert opened.has_tag(name)
    assert opened.tag(name).name == name
    assert opened.tags_at(opened.head()) == (name,)
    assert opened.tags_before(opened.head()) == (name,)
    assert [tag.name for tag in opened.list_tags()] == [name]
    assert opened.remote_tags("origin")[name].sha == opened.tag_hash(name)


def test_folder_of_tags_is_no_tag(repository: GitFolder, opened: Repository) -> None:
    """What is only the beginning of a tag's name, or a pattern for it, is no tag."""
    repository.tag("release/1.0")
    assert not any(map(opened.has_tag, ("release", "release/", "release/*", "1.0")))


def test_tags_before(repository: GitFolder, opened: Repository) -> None:
    """Of a commit's history are the tags on it and below it, and none of another branch."""
    repository.tag("v1.0.0", "First")
    repository.git("checkout", "--quiet", "-b", "next")
    repository.commit("Next")
    repository.tag("v2.0.0", "Next")
    repository.git("checkout", "--quiet", "main")
    repository.commit("Main")
    repository.tag("v1.0.1", "Main")
    assert set(opened.tags_before(opened.head())) == {"v1.0.0", "v1.0.1"}


def test_tags_on_an_unknown_commit(repository: GitFolder, opened: Repository) -> None:
    """A commit that this clone does not have has no tags, nor has what is no hash."""
    repository.tag("v1.0.0", "First")
    assert opened.tags_on(opened.head().sha) == ("v1.0.0",)
    assert opened.tags_on("0" * 39 + "1") == ()
    assert opened.tags_on("nonsense") == ()


def test_created_tag(repository: GitFolder, opened: Repository) -> None:
    """A created tag is annotated, on HEAD, and its message is kept with headings and letters of any kind."""
    opened.create_tag("v1.0.0", "Release v1.0.0\n\n### Größer\n\n- item # 1\n")
    assert repository.git("cat-file", "-t", "v1.0.0") == "tag"
    assert str(opened.tag("v1.0.0").message).strip() == "Release v1.0.0\n\n### Größer\n\n- item # 1"
    assert opened.tag("v1.0.0").commit == opened.head()


def test_created_tag_with_a_long_message(opened: Repository) -> None:
    """A message may be longer than the kernel lets an argument be."""
    message = "Release\n\n" + "- a commit that did something\n" * 10_000
    opened.create_tag("v1.0.0", message)
    assert str(opened.tag("v1.0.0").message).strip() == message.strip()


def test_tag_that_is_there(opened: Repository) -> None:
    """A tag is never moved: git's refusal is told."""
    opened.create_tag("v1.0.0", "First")
    with pytest.raises(ToolError, match=r"git tag: .*already exists"):
        opened.create_tag("v1.0.0", "Second")
    assert str(opened.tag("v1.0.0").message).strip() == "First"


# Files of a revision


def test_files_at(repository: GitFolder, opened: Repository) -> None:
    """The files below a folder are those of the revision, by their whole path, and the hash gives their bytes."""
    repository.write("runs/größe \n1/a.txt", "old")
    repository.write("runs-old/b.txt")
    first = repository.commit()
    repository.write("runs/größe \n1/a.txt", "new")
    repository.commit()
    (path, content), *rest = opened.files_at(first, repository.folder / "runs").items()
    assert (path, opened.read(content), rest) == ("runs/größe \n1/a.txt", b"old", [])
    assert opened.file_at(first, repository.folder / path) == b"old"
    assert opened.file_at("HEAD", repository.folder / path) == b"new"


def test_files_of_the_whole_repository(repository: GitFolder, opened: Repository) -> None:
    """The top of the repository has all of its files."""
    repository.write("folder/x")
    repository.commit()
    assert set(opened.files_at("HEAD", repository.folder)) == {"first.txt", "folder/x"}


def test_no_files_at(opened: Repository, tmp_path: Path) -> None:
    """A folder that the revision does not have, or that is outside, has no files."""
    assert opened.files_at("HEAD", opened.folder / "missing") == {}
    assert opened.files_at("HEAD", tmp_path / "elsewhere") == {}
    assert opened.file_at("HEAD", opened.folder / "missing.toml") is None


def test_changed_files(repository: GitFolder, opened: Repository) -> None:
    """What differs between two revisions is listed by whole names; what was taken back is not."""
    repository.write("with space.txt")
    repository.write("undone.txt")
    repository.commit()
    (repository.folder / "undone.txt").unlink()
    repository.git("mv", "first.txt", "größe\n.txt")
    repository.commit()
    found = opened.changed_files("HEAD~2", "HEAD")
    assert set(found) == {"with space.txt", "first.txt", "größe\n.txt"}


# Branches


def test_branch_of_releases(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """The policy's branch comes first, then the remote's default, then main or master."""
    assert opened.branch_of_releases(None, "origin") == "main"
    repository.git("push", "--quiet", "origin", "HEAD:trunk")
    repository.git("remote", "set-head", "origin", "trunk")
    assert opened.branch_of_releases(None, "origin") == "trunk"
    assert opened.branch_of_releases("main", "origin") == "main"
    assert opened.branch_of_releases("missing", "origin") is None


def test_master_is_a_branch_of_releases(repository: GitFolder, opened: Repository) -> None:
    """Without a remote the branch is main or master, and none where neither is there."""
    repository.git("branch", "--move", "main", "master")
    assert opened.branch_of_releases(None, "origin") == "master"
    repository.git("branch", "--move", "master", "develop")
    assert opened.branch_of_releases(None, "origin") is None


def test_commit_on_a_branch(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """A commit is on a branch that was made from it, here or on the remote, also where HEAD is detached."""
    first = opened.head()
    repository.commit("Second")
    repository.git("checkout", "--quiet", "--detach")
    assert opened.is_on_branch(first, "main", "origin")
    side = repository.commit("Side")
    assert opened.head().sha == side
    assert not opened.is_on_branch(opened.head(), "main", "origin")
    repository.git("push", "--quiet", "origin", f"{side}:refs/heads/main")
    repository.git("fetch", "--quiet")
    assert opened.is_on_branch(opened.head(), "main", "origin")


# Remotes


def test_pushed_tag(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """A pushed tag is on the remote, annotated as it is here; others are not."""
    opened.create_tag("v1.0.0", "First")
    repository.tag("v2.0.0", "Stays here")
    assert opened.remote_tags("origin") == {}
    opened.push_tag("origin", "v1.0.0")
    tag = RemoteTag(sha=opened.tag_hash("v1.0.0"), commit=opened.head().sha)
    assert opened.remote_tags("origin") == {"v1.0.0": tag}
    assert remote.git("cat-file", "-t", "v1.0.0") == "tag"


def test_annotation_on_the_remote(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """A checkout for CI has of an annotated tag only the commit: its message is read from the remote, and the tag stays
    as it is here. One that is lightweight there, or on another commit, has none."""
    opened.create_tag("v1.0.0", "Release v1.0.0: the story\n\nof it")
    repository.git("tag", "v1.1.0")
    repository.git("push", "--quiet", "origin", "v1.0.0", "v1.1.0")
    repository.git("tag", "--delete", "v1.0.0")
    repository.git("gc", "--prune=now", "--quiet")
    repository.git("tag", "v1.0.0")
    assert opened.annotation_on("origin", "v1.0.0") == "Release v1.0.0: the story\n\nof it\n"
    assert opened.tag("v1.0.0").message is None
    assert opened.annotation_on("origin", "v1.1.0") is None
    repository.commit("Next")
    repository.git("tag", "--force", "v1.0.0")
    assert opened.annotation_on("origin", "v1.0.0") is None


def test_push_of_another_tag(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """A remote that has another tag of that name keeps its own, and says so."""
    remote.git("tag", "v1.0.0")
    opened.create_tag("v1.0.0", "Here")
    with pytest.raises(ToolError, match=r"git push: [\s\S]*rejected"):
        opened.push_tag("origin", "v1.0.0")
    assert remote.git("cat-file", "-t", "v1.0.0") == "commit"


def test_no_remote(opened: Repository) -> None:
    """Without a remote there is no address, and asking it for tags fails with git's words."""
    assert opened.remote_url("origin") is None
    with pytest.raises(ToolError, match=r"git ls-remote: .*origin"):
        opened.remote_tags("origin")


def test_remote_that_is_gone(repository: GitFolder, opened: Repository, remote: GitFolder) -> None:
    """A remote that is not there any more is told by its address, when asked and when pushed to."""
    remote.folder.rename(remote.folder.with_name("moved.git"))
    opened.create_tag("v1.0.0", "First")
    assert opened.remote_url("origin") == str(remote.folder)
    for ask in (lambda: opened.remote_tags("origin"), lambda: opened.push_tag("origin", "v1.0.0")):
        with pytest.raises(ToolError, match=r"remote\.git"):
            ask()


def test_silent_remote(repository: GitFolder, opened: Repository) -> None:
    """A remote that takes connections and never answers is given up after the time that it gets, and no program that
    git started for it goes on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        repository.git("remote", "add", "origin", f"http://127.0.0.1:{listening.getsockname()[1]}/x.git")
        with pytest.raises(ToolError, match=r"did not answer within 0\.5 seconds"):
            opened.remote_tags("origin", seconds=0.5)
    assert not [each for each in psutil.Process().children(recursive=True) if "remote-http" in each.name()]


@pytest.mark.parametrize("how", ["configuration", "environment", "default"])
def test_ssh(
    repository: GitFolder, opened: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """ssh is called as the user's configuration or environment says; else it asks for no password."""
    told = tmp_path / "told"
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ssh"
    script.write_text(f'#!/bin/sh\necho "$@" >> "{told}"\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    if how == "configuration":
        repository.git("config", "core.sshCommand", f"{script} -o User=ours")
    if how == "environment":
        monkeypatch.setenv("GIT_SSH_COMMAND", f"{script} -o User=ours")
    repository.git("remote", "add", "origin", "ssh://127.0.0.1/none.git")
    with pytest.raises(ToolError):
        opened.remote_tags("origin")
    assert ("BatchMode=yes" in told.read_text()) == (how == "default")
    assert ("User=ours" in told.read_text()) == (how != "default")
