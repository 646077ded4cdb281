"""A commit of a repository, checked out in a folder of its own: what is at work in the repository notices nothing."""

from pathlib import Path
from urllib.parse import urlsplit

from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.git_program import Git, new_repository
from tagship.system.shown import masked

# For all of a repository's history.
_FETCH_SECONDS = 900
_ALL = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


def clone_at(commit: str, folder: Path, *, here: Repository, elsewhere: str | None) -> None:
    """Check a commit out in a new `folder`, with all tags: from the repository that is `here`, where that has it, else
    from a web address. Raises ReleaseError where neither has it, ToolError with git's own words."""
    git = new_repository(folder)
    try:
        if here.has_commit(commit):
            _borrow(git, here)
        elif elsewhere and urlsplit(elsewhere).scheme in ("https", "http"):  # git also takes what runs a program
            git.ask(_FETCH_SECONDS, "fetch", "--quiet", elsewhere, *_ALL)
            git.run("remote", "add", "origin", elsewhere)
        if not _has(git, commit):
            others = f", and neither has {masked(elsewhere)}" if elsewhere else ""
            raise ReleaseError(
                f"{here.folder} does not have the commit {commit[:10]}{others}",
                remedy="run this in a clone that has it: git fetch --all --tags",
            )
        git.run("checkout", "--quiet", "--detach", commit)
    finally:
        git.close()


def tag_as(folder: Path, tag: str, commit: str) -> str | None:
    """Have a tag of a clone name a commit; returns the commit that it named before, None where there was no such tag.
    Raises ToolError for what is no name of a tag."""
    git = Git(folder)
    try:
        before = git.answer("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
        if before != commit:
            git.run("update-ref", f"refs/tags/{tag}", commit)
        return before
    finally:
        git.close()


def _borrow(git: Git, here: Repository) -> None:
    """Have all objects of another repository without a copy, and its tags and branches."""
    (git.folder / ".git/objects/info").mkdir(parents=True, exist_ok=True)
    (git.folder / ".git/objects/info/alternates").write_text(f"{here.objects()}\n", encoding="utf-8")
    # Of a shallow clone, that it is one.
    git.ask(_FETCH_SECONDS, "fetch", "--quiet", "--update-shallow", str(here.folder), *_ALL)
    # What git LFS has is fetched for working trees, and is in the one that is here.
    if git.answer("config", "filter.lfs.process"):
        git.run("config", "filter.lfs.smudge", "git-lfs smudge --skip -- %f")
        git.run("config", "filter.lfs.process", "git-lfs filter-process --skip")


def _has(git: Git, commit: str) -> bool:
    return git.answer("cat-file", "-e", f"{commit}^{{commit}}") is not None
