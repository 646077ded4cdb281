"""A repository in one file, as `git bundle` makes it, and a clone of it."""

from pathlib import Path

from tagship.system.errors import ReleaseError
from tagship.system.git_program import Git, new_repository


def make_bundle(folder: Path, file: Path) -> bytes:
    """What is checked out in the repository that holds a folder, with its history and all tags on it. Raises
    ReleaseError for a clone that lacks a part of the history, ToolError with git's words."""
    git = Git(folder)
    try:
        if git.run("rev-parse", "--is-shallow-repository") == "true":
            raise ReleaseError(
                "this clone lacks a part of its history, so that no other machine can be given it",
                remedy="git fetch --unshallow",
            )
        tags = git.run("for-each-ref", "--merged=HEAD", "--format=%(refname)", "refs/tags").split()
        git.run("bundle", "create", "--quiet", str(file), "HEAD", *tags)
    finally:
        git.close()
    return file.read_bytes()


def clone_bundle(bundle: Path, folder: Path, commit: str, remote: tuple[str, str] | None) -> None:
    """Check a commit out of a bundle into a folder, with the tags that it has, and a remote by name and address. What
    git LFS keeps apart is not fetched. Raises ToolError with git's words."""
    git = new_repository(folder)
    try:
        for part in ("smudge", "process"):
            git.run("config", f"filter.lfs.{part}", "")
        git.run("config", "filter.lfs.required", "false")
        git.run("fetch", "--quiet", str(bundle), "HEAD", "refs/tags/*:refs/tags/*")
        git.run("checkout", "--quiet", "--detach", commit)
        if remote:
            git.run("remote", "add", *remote)
    finally:
        git.close()
