"""Reading a repository: revisions, trees, files, commits."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from tagship.hub_server.blobs import MAX_POINTER_BYTES, Pointer
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.names import PULL_REQUEST_REF, is_ref_name
from tagship.hub_server.problem import entry_not_found, revision_not_found
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo

_OID = re.compile(r"[0-9a-f]{7,40}", re.ASCII)


class Entry(Struct, frozen=True, kw_only=True):
    """A file or folder; `size` is the real file's, in bytes, also where git holds an LFS pointer.

    `stored_size` is what git holds.
    """

    path: str
    is_folder: bool
    oid: str
    stored_size: int
    pointer: Pointer | None

    @property
    def size(self) -> int:
        """Bytes of the file that a user downloads."""
        return self.pointer.size if self.pointer else self.stored_size


class Commit(Struct, frozen=True, kw_only=True):
    """One commit; `time` is its Unix time, `author` the name of the user."""

    oid: str
    author: str
    time: int
    title: str
    message: str


class Ref(Struct, frozen=True, kw_only=True):
    """A branch or tag and the commit that it leads to."""

    name: str
    ref: str
    commit: str


def resolve(repo: Repo, revision: str) -> str:
    """The commit of a branch, tag, pull request (`refs/pr/1`) or (abbreviated) commit id, in this order.

    Raises HubProblem (404, RevisionNotFound).
    """
    if PULL_REQUEST_REF.fullmatch(revision):
        expressions = [revision]
    elif is_ref_name(revision.removeprefix("refs/heads/").removeprefix("refs/tags/")):
        full = [revision] if revision.startswith("refs/") else []
        expressions = full or [f"refs/heads/{revision}", f"refs/tags/{revision}"]
    else:
        raise revision_not_found(revision)
    if _OID.fullmatch(revision):
        expressions.append(revision)
    found = next((oid for oid in repo.git.commit_oids(expressions) if oid), None)
    if found is None:
        raise revision_not_found(revision)
    return found


def tree(repo: Repo, commit: str, folder: str = "", *, recursive: bool = False) -> list[Entry]:
    """The entries of a folder, or of everything below it. Raises HubProblem (404, EntryNotFound)."""
    flags = ["-r", "-t"] if recursive else []
    try:
        listing = repo.git.run("ls-tree", "-z", "-l", *flags, f"{commit}:{folder}")
    except GitFailed as error:
        if not repo.exists:
            raise
        raise entry_not_found(folder, commit) from error
    prefix, rows = f"{folder}/" if folder else "", []
    for record in listing.decode(errors="replace").split("\0"):
        if record:
            meta, _, path = record.partition("\t")
            _, kind, oid, size = meta.split()
            rows.append(_Row(f"{prefix}{path}", kind == "tree", oid, 0 if size == "-" else int(size)))
    return _entries(repo.git, rows)


def entries_at(repo: Repo, commit: str, paths: Iterable[str]) -> list[Entry]:
    """The entries at these paths; those that don't exist are left out."""
    # ls-tree leaves out a folder if it is asked for a file inside it, too; this doesn't.
    wanted = list(dict.fromkeys(path.rstrip("/") for path in paths if path.rstrip("/")))
    found = repo.git.info([f"{commit}:{path}" for path in wanted])
    rows = [
        _Row(path, entry.kind == "tree", entry.oid, entry.size)
        for path, entry in zip(wanted, found, strict=True)
        if entry is not None and entry.kind in ("blob", "tree")
    ]
    return _entries(repo.git, rows)


def file_at(repo: Repo, commit: str, path: str) -> Entry:
    """The file at `path`. Raises HubProblem (404, EntryNotFound)."""
    found = [entry for entry in entries_at(repo, commit, [path]) if not entry.is_folder]
    if not found:
        raise entry_not_found(path, commit)
    return found[0]


def file_bytes(repo: Repo, entry: Entry) -> bytes:
    """What git holds for a file."""
    return repo.git.contents([entry.oid])[0]


def commits(repo: Repo, commit: str, *, limit: int | None = None, path: str | None = None) -> list[Commit]:
    """The history that leads to `commit`, newest first; with `path`, what changed that file or folder."""
    options = [] if limit is None else [f"--max-count={limit}"]
    output = repo.git.run(
        "log",
        "-z",
        "--format=%H%x1f%an%x1f%ct%x1f%s%x1f%b",
        *options,
        commit,
        *(["--", f":(literal){path}"] if path else []),
    )
    records = [record.split("\x1f", 4) for record in output.decode(errors="replace").split("\0") if record]
    return [
        Commit(oid=oid, author=author, time=int(time), title=title, message=body.strip())
        for oid, author, time, title, body in records
    ]


def creation_time(repo: Repo) -> int:
    """The Unix time of the first commit. Raises HubProblem where there is none, as in a repository that is just being
    deleted, whose refs may go before the rest."""
    first = repo.git.line("log", "--max-parents=0", "--max-count=1", "--format=%ct", "--all")
    if not first:
        raise revision_not_found(DEFAULT_BRANCH)
    return int(first)


def refs(repo: Repo, kind: str) -> list[Ref]:
    """All branches (`heads`), tags (`tags`) or pull requests (`pr`), sorted; an annotated tag leads to its commit."""
    form = "%(refname)%00%(objectname)%00%(*objectname)"
    lines = repo.git.run("for-each-ref", f"--format={form}", f"refs/{kind}/").decode().split("\n")
    found = []
    for line in filter(None, lines):
        name, oid, peeled = line.split("\0")
        found.append(Ref(name=name.removeprefix(f"refs/{kind}/"), ref=name, commit=peeled or oid))
    return found


def tag_message(repo: Repo, name: str) -> str | None:
    """What an annotated tag says; empty for another tag, None if there is no such tag."""
    if not is_ref_name(name):
        return None
    form = "%(refname)%00%(objecttype)%00%(contents)"
    line = repo.git.run("for-each-ref", "--count=1", f"--format={form}", f"refs/tags/{name}").decode(errors="replace")
    found, kind, message = [*line.split("\0", 2), "", ""][:3]
    if found != f"refs/tags/{name}":
        return None
    return message.strip() if kind == "tag" else ""


class _Row(NamedTuple):
    path: str
    is_folder: bool
    oid: str
    size: int


def _entries(git: Git, rows: list[_Row]) -> list[Entry]:
    small = [row.oid for row in rows if not row.is_folder and 0 < row.size <= MAX_POINTER_BYTES]
    pointers = {oid: Pointer.parse(text) for oid, text in zip(small, git.contents(small), strict=True)}
    return [
        Entry(
            path=row.path,
            is_folder=row.is_folder,
            oid=row.oid,
            stored_size=0 if row.is_folder else row.size,
            pointer=pointers.get(row.oid),
        )
        for row in rows
    ]
