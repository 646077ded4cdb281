"""How each file of a commit is to be uploaded: inside the commit, or as an LFS file before it."""

import base64
import tempfile
from pathlib import Path

from msgspec import Struct

from tagship.hub_server.attributes import ALWAYS_LFS_SUFFIXES, lfs_tracked
from tagship.hub_server.file_checks import is_binary
from tagship.hub_server.git import Git
from tagship.hub_server.history import entries_at, file_bytes
from tagship.hub_server.names import check_path
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo

MAX_REGULAR_BYTES = 10_000_000


class Candidate(Struct, frozen=True, kw_only=True):
    """A file that a client wants to commit: its path, size in bytes and first 512 bytes."""

    path: str
    size: int
    sample: bytes

    @classmethod
    def parse(cls, item: object) -> "Candidate":
        """From the JSON of a preupload request. Raises HubProblem (400)."""
        wanted = item if isinstance(item, dict) else {}
        try:
            sample = base64.b64decode(wanted["sample"])
            return cls(path=check_path(wanted["path"]), size=int(wanted["size"]), sample=sample)
        except (KeyError, TypeError, ValueError) as error:
            raise HubProblem(400, "A file of a preupload needs path, sample and size") from error


class Answer(Struct, frozen=True, kw_only=True):
    """What the client is told about one file.

    `oid` is what the Hub has at that path, the SHA-256 of an LFS file or the git id of another;
    the client leaves a file out of its commit if that is what it has, too.
    """

    path: str
    lfs: bool
    ignored: bool
    oid: str | None


def decide(repo: Repo, commit: str, files: list[Candidate], *, gitignore: str | None, scratch: Path) -> list[Answer]:
    """An answer for each file, in order; `gitignore` overrides the one in the repository."""
    paths = [file.path for file in files]
    here = {
        entry.path: entry.pointer.sha256 if entry.pointer else entry.oid
        for entry in entries_at(repo, commit, paths)
        if not entry.is_folder
    }
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        index = Path(folder, "index")
        repo.git.run("read-tree", commit, index=index)
        tracked = lfs_tracked(repo.git, index, paths)
    if gitignore is None:
        rules = [entry for entry in entries_at(repo, commit, [".gitignore"]) if not entry.is_folder]
        gitignore = file_bytes(repo, rules[0]).decode(errors="replace") if rules else ""
    ignored = _ignored(repo.git, gitignore, paths, scratch)
    return [
        Answer(
            path=file.path,
            lfs=file.path in tracked or _wants_lfs(file),
            ignored=file.path in ignored,
            oid=here.get(file.path),
        )
        for file in files
    ]


def _wants_lfs(file: Candidate) -> bool:
    return file.path.endswith(ALWAYS_LFS_SUFFIXES) or file.size >= MAX_REGULAR_BYTES or is_binary(file.sample)


def _ignored(git: Git, gitignore: str, paths: list[str], scratch: Path) -> set[str]:
    if not gitignore.strip() or not paths:
        return set()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        Path(folder, ".gitignore").write_text(gitignore)
        feed = b"".join(path.encode() + b"\0" for path in paths)
        # core.bare=false: otherwise git refuses to look into a work tree of a bare repository.
        output = git.asks(
            *("-c", "core.bare=false", f"--work-tree={folder}", "check-ignore"),
            *("--no-index", "-z", "--stdin"),
            feed=feed,
        )
    return set((output or b"").decode().split("\0")) - {""}
