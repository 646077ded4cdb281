"""What a power cut, or a killed git, leaves in a repository, mended when a server starts.

This Hub waits for the disk before it answers, so that nothing it has acknowledged is lost. What was under way may be
there by half: a lock that nobody holds, a branch whose file is empty, objects of no bytes, which git would take for
written.
"""

import fcntl
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tagship.hub_server.durable import place
from tagship.hub_server.git import GitFailed, remove_locks
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo

_REF = re.compile(rb"[0-9a-f]{40}\n?|ref: refs/\S+\n?")

_log = logging.getLogger(__name__)


def mend(repo: Repo, *, scratch: Path) -> None:
    """Mend a repository that no server is changing; what was done is logged."""
    git_dir = repo.git.git_dir
    with suppress(BlockingIOError, GitFailed), repo.git.held(fcntl.LOCK_EX | fcntl.LOCK_NB):
        for path in remove_locks(git_dir):
            _log.warning("%s: removed %s, which a git that was stopped had left", repo.id, path.relative_to(git_dir))
        if not (git_dir / "HEAD").read_bytes().strip():
            _write(git_dir / "HEAD", f"ref: refs/heads/{DEFAULT_BRANCH}\n", scratch)
        broken = list(_broken_refs(git_dir))
        main = git_dir / "refs" / "heads" / DEFAULT_BRANCH
        lost = not main.exists() and not _is_packed(repo)
        if broken or lost:
            _mend_refs(repo, broken, main, scratch)


def _broken_refs(git_dir: Path) -> Iterator[Path]:
    for path in (git_dir / "refs").rglob("*"):
        if path.is_file() and not _REF.fullmatch(path.read_bytes()):
            yield path


def _is_packed(repo: Repo) -> bool:
    with suppress(FileNotFoundError):
        return f" refs/heads/{DEFAULT_BRANCH}\n" in (repo.git.git_dir / "packed-refs").read_text(encoding="utf-8")
    return False


def _mend_refs(repo: Repo, broken: list[Path], main: Path, scratch: Path) -> None:
    git_dir = repo.git.git_dir
    for path in (git_dir / "objects").glob("??/*"):
        if not path.stat().st_size:
            path.unlink()
    for path in broken:
        path.unlink()
    if not main.exists() and not _is_packed(repo) and (commit := _newest_whole_commit(repo)):
        _write(main, f"{commit}\n", scratch)
        _log.warning("%s: the branch %s had no commit, and has its newest whole one again", repo.id, DEFAULT_BRANCH)
    for path in broken:
        if path != main:
            _log.warning("%s: %s had no commit, and was removed", repo.id, path.relative_to(git_dir))


def _newest_whole_commit(repo: Repo) -> str | None:
    """Of the commits that are here with all that they lead to the one that was made last, None if there is none."""
    lines = repo.git.run("cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)").decode()
    commits = [line.removeprefix("commit ") for line in lines.splitlines() if line.startswith("commit ")]
    feed = "".join(f"{commit}\n" for commit in commits).encode()
    # What another branch has was not what this one had, unless there is nothing else; what its last commit was made on
    # it had as well.
    own = _ordered(repo, feed, ("--not", "--branches"))
    before = _ordered(repo, f"{own[0]}\n".encode(), ("--first-parent",)) if own else []
    candidates = dict.fromkeys([*own, *before, *_ordered(repo, feed, ())])
    return next((commit for commit in candidates if _is_whole(repo, commit)), None)


def _ordered(repo: Repo, feed: bytes, options: tuple[str, ...]) -> list[str]:
    """Commits, the newest first and each before its parents, as many are made within a second."""
    try:
        return repo.git.run("rev-list", "--date-order", "--stdin", *options, feed=feed).decode().split()
    except GitFailed:  # a parent is not here
        return repo.git.run("rev-list", "--no-walk=sorted", "--stdin", *options, feed=feed).decode().split()


def _is_whole(repo: Repo, commit: str) -> bool:
    try:
        repo.git.run("rev-list", "--verify-objects", "--quiet", commit)
    except GitFailed:
        return False
    return True


def _write(path: Path, text: str, scratch: Path) -> None:
    fresh = scratch / f"mended-{path.name}"
    fresh.write_text(text, encoding="utf-8")
    place(fresh, path)
