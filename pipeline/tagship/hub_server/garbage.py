"""Gives back the room of what no commit has any longer, beside servers that go on.

First every repository is read, which takes as long as it takes. Then, while nothing changes, what no ref leads to is
removed: objects of git, and large files that were committed once, or uploaded a day ago and never committed. What was
touched since the reading began stays (`claims.py`), so nothing that a commit has got meanwhile is lost.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tagship.hub_server.backend import Backend
from tagship.hub_server.blobs import MAX_POINTER_BYTES, Pointer, sweep
from tagship.hub_server.claims import is_garbage
from tagship.hub_server.directory import Directory
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.repos import Repo
from tagship.system.errors import ReleaseError


class Freed(Struct, frozen=True, kw_only=True):
    """What was removed: `files` of the store with `size` bytes, and objects of `repositories`; `waiting` files that no
    commit has are young enough to get one."""

    files: int
    size: int
    repositories: int
    waiting: int


class _Reading(Struct, frozen=True):
    """What the refs of a repository lead to: SHA-256s of large files, and whether git has more than that."""

    large: frozenset[str]
    more: bool


def collect(root: Path) -> Freed:
    """Clean up the Hub under `root`.

    Raises ReleaseError, and has removed nothing, if a repository cannot be read.
    """
    hub = Backend.of_root(root.absolute(), directory=Directory(users={}), page_size=1)
    since_ns = _now(hub.scratch)
    readings = {repo.git.git_dir: _read(repo) for repo in hub.repos()}
    with hub.lock.alone():
        repos = hub.repos()
        # Those that came, or were moved, since.
        readings |= {repo.git.git_dir: _read(repo) for repo in repos if repo.git.git_dir not in readings}
        pruned = [repo for repo in repos if readings[repo.git.git_dir].more]
        for repo in pruned:
            with repo.git.held(fcntl.LOCK_SH):  # or a server that starts would take git's locks for left ones
                repo.git.run("gc", "--quiet", "--prune=now")
        live = frozenset().union(*(readings[repo.git.git_dir].large for repo in repos))
        found = list(_unused(hub, live, since_ns))
        gone = [path for path in found if is_garbage(path, since_ns=since_ns)]
        if any(path.is_relative_to(hub.files.xet.folder / "xorbs") for path in gone):
            # Clients remember what they have uploaded to an address.
            hub.files.xet.change_address()
        size = sum(_remove(path) for path in gone)
    sweep(hub.scratch)
    return Freed(files=len(gone), size=size, repositories=len(pruned), waiting=len(found) - len(gone))


def _now(scratch: Path) -> int:
    """The time, as the file system of the stores tells it."""
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        return os.stat(file.name).st_mtime_ns


def _read(repo: Repo) -> _Reading:
    try:
        reachable = repo.git.run("rev-list", "--objects", "--all", "--no-object-names").decode().split()
        every = repo.git.run("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").decode().split()
        return _Reading(frozenset(_large(repo.git, reachable)), set(every) != set(reachable))
    except GitFailed as error:
        if not repo.exists:
            return _Reading(frozenset(), False)
        raise ReleaseError(
            f"the repository {repo.id} cannot be read, and nothing was removed: {error}",
            remedy=f"look at it with `git --git-dir {repo.git.git_dir} fsck`, or delete it",
        ) from error


def _large(git: Git, oids: list[str]) -> Iterator[str]:
    """The SHA-256s in the pointers among these objects."""
    form = "%(objecttype) %(objectsize) %(objectname)"
    lines = git.run("cat-file", f"--batch-check={form}", feed="".join(f"{oid}\n" for oid in oids).encode())
    rows = (line.split() for line in lines.decode().splitlines())
    small = [oid for kind, size, oid in rows if kind == "blob" and int(size) <= MAX_POINTER_BYTES]
    for content in git.contents(small):
        if pointer := Pointer.parse(content):
            yield pointer.sha256


def _unused(hub: Backend, live: frozenset[str], since_ns: int) -> Iterator[Path]:
    """The stored files that no commit has, nor a file that waits for one needs; those that others need come last."""
    xet = hub.files.xet
    links = [path for path in _stored(xet.folder / "sha256") if path.name not in live]
    kept = live | {path.name for path in links if not is_garbage(path, since_ns=since_ns)}
    records = {known[0] for sha256 in kept if (known := xet.by_sha256(sha256))}
    files = [path for path in _stored(xet.folder / "files") if path.name not in records]
    records |= {path.name for path in files if not is_garbage(path, since_ns=since_ns)}
    xorbs = {segment.xorb for name in records if (record := xet.record(name)) for segment in record.segments}
    yield from (path for path in _stored(hub.files.blobs.folder) if path.name not in live)
    yield from links
    yield from files
    yield from (path for path in _stored(xet.folder / "xorbs") if path.name not in xorbs)


def _stored(folder: Path) -> Iterable[Path]:
    return folder.glob("??/*")


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size
