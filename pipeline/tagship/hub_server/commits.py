"""One commit out of the client's list of operations: everything in it or nothing, and no lost update."""

import base64
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.hub_server.attributes import lfs_line, lfs_tracked
from tagship.hub_server.blobs import Pointer
from tagship.hub_server.bounded import OutOfBounds, parse_json
from tagship.hub_server.commit_objects import write_commit
from tagship.hub_server.content import LargeFile
from tagship.hub_server.file_checks import content_problem, size_problem
from tagship.hub_server.git import GitFailed
from tagship.hub_server.names import check_path
from tagship.hub_server.problem import HubProblem, entry_not_found, revision_not_found
from tagship.hub_server.repos import Repo

_ATTEMPTS = 50
# A file of 10 MiB in base64 has 14 million characters.
_LINE_BYTES = 32_000_000
_GITATTRIBUTES = ".gitattributes"
_OPERATIONS = ("file", "lfsFile", "deletedFile", "deletedFolder")

Tree = dict[str, tuple[str, str]]
"""Path -> (mode, object id) of every file of a commit."""


class Add(Struct, frozen=True, kw_only=True):
    """Put the staged bytes at `path`; `large` if they are the pointer of an LFS file."""

    path: str
    staged: Path
    large: bool


class Delete(Struct, frozen=True, kw_only=True):
    """Remove a file, or a folder with all that is in it."""

    path: str
    folder: bool


class CommitRequest(Struct, frozen=True, kw_only=True):
    """What POST /commit asked for; `parent` is the commit that the client has seen, if it says so."""

    message: str
    parent: str | None
    operations: tuple[Add | Delete, ...]


def read_request(body: Path, staging: Path, find: Callable[[str], LargeFile | None]) -> CommitRequest:
    """The request in the newline-delimited JSON of `body`, with new contents written to `staging`.

    One line is in memory at a time. `find` tells whether an LFS file was uploaded, by its SHA-256.
    Raises HubProblem: 400 for a malformed line or an LFS file that was never uploaded, 422 for a bad path.
    """
    header: dict[str, Any] = {}
    operations: list[Add | Delete] = []
    for key, value in _items(body):
        if key == "header":
            header = value
            continue
        if key not in _OPERATIONS:
            raise HubProblem(400, f"Unknown operation in commit: {key!r}")
        path = _path(value)
        if key in ("deletedFile", "deletedFolder"):
            operations.append(Delete(path=path, folder=key == "deletedFolder"))
        else:
            staged = staging / str(len(operations))
            staged.write_bytes(_pointer(value, find).text() if key == "lfsFile" else _content(path, value))
            operations.append(Add(path=path, staged=staged, large=key == "lfsFile"))
    if not isinstance(summary := header.get("summary"), str) or not summary.strip():
        raise HubProblem(400, "A commit needs a header with a summary")
    message = f"{summary}\n\n{header.get('description') or ''}".strip().replace("\0", "") + "\n"
    return CommitRequest(message=message, parent=header.get("parentCommit") or None, operations=tuple(operations))


def _items(body: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with body.open("rb") as lines:
        while line := lines.readline(_LINE_BYTES):
            if len(line) == _LINE_BYTES:
                raise HubProblem(413, f"A line of a commit has more than {_LINE_BYTES:,} bytes")
            if not line.strip():
                continue
            try:
                item = parse_json(line)
                key, value = item["key"], item["value"]
            except (OutOfBounds, KeyError, TypeError) as error:
                raise HubProblem(400, "The commit is not newline-delimited JSON of key and value") from error
            if not isinstance(value, dict):
                raise HubProblem(400, f"The value of {key!r} is not an object")
            yield str(key), value


def _path(value: dict[str, Any]) -> str:
    path = value.get("path")
    return check_path(path.rstrip("/") if isinstance(path, str) else path)


def _content(path: str, value: dict[str, Any]) -> bytes:
    content, encoding = value.get("content", ""), value.get("encoding", "utf-8")
    if not isinstance(content, str):
        raise HubProblem(400, f"{path}: the content is not text")
    try:
        data = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
    except ValueError as error:
        raise HubProblem(400, f"{path}: the content is not base64") from error
    if problem := size_problem(len(data)) or content_problem(path, data):
        raise HubProblem(400, f"{path}: {problem}")
    return data


def _pointer(value: dict[str, Any], find: Callable[[str], LargeFile | None]) -> Pointer:
    sha256, size = str(value.get("oid", "")), value.get("size")
    file = find(sha256)
    if file is None:
        raise HubProblem(400, f"{value['path']}: the LFS file {sha256} was never uploaded")
    # A copy inside the Hub names no size.
    if size is not None and size != file.size:
        raise HubProblem(400, f"{value['path']}: the LFS file {sha256} has {file.size} bytes, not {size}")
    return Pointer(sha256=sha256, size=file.size)


class Draft(Struct, frozen=True, kw_only=True):
    """What it takes to make a commit again on another head: the request, its blobs in git, who makes it."""

    repo: Repo
    request: CommitRequest
    blob_of: dict[Path, str]
    author: str
    scratch: Path

    @classmethod
    def of(cls, repo: Repo, request: CommitRequest, *, author: str, scratch: Path) -> "Draft":
        """Its new files are in git afterwards, and belong to nothing yet."""
        staged = [operation.staged for operation in request.operations if isinstance(operation, Add)]
        blob_of = dict(zip(staged, repo.git.store_files(staged), strict=True))
        return cls(repo=repo, request=request, blob_of=blob_of, author=author, scratch=scratch)

    def on(self, head: str) -> str:
        """The new commit's id; nothing leads to it. Raises HubProblem: 412 if the client has seen another head, 400."""
        if self.request.parent not in (None, head):
            message = "The branch was updated since you opened this page. Please refresh and try again."
            raise HubProblem(412, message)
        files = _apply(_files(self.repo, head), head, self.request.operations, self.blob_of)
        adds = [operation for operation in self.request.operations if isinstance(operation, Add)]
        large = [add.path for add in adds if add.large and add.path in files]
        tree = _write_tree(self.repo, files, large, self.scratch)
        return write_commit(self.repo.git, tree, [head], self.request.message, author=self.author)


def commit(draft: Draft, ref: str) -> str:
    """Make the commit and move the branch or pull request to it; the new commit's id.

    As on the Hub, a commit that changes nothing is still a commit (the client leaves such commits
    out). If somebody else's commit comes in between, ours is built again on top of it, unless the
    client named its parent. Raises HubProblem: 412 if the named parent is not the branch's head,
    404 for an unknown branch or a deleted file that isn't there.
    """
    git = draft.repo.git
    for attempt in range(_ATTEMPTS):
        head = git.commit_oids([ref])[0]
        if head is None:
            raise revision_not_found(ref.removeprefix("refs/heads/"))
        oid = draft.on(head)
        try:
            git.change("update-ref", ref, oid, head)
        except GitFailed:
            time.sleep(0.01 * attempt)
        else:
            return oid
    raise HubProblem(503, f"The branch {ref!r} is too busy. Please try again.")


def _files(repo: Repo, commit_oid: str) -> Tree:
    listing = repo.git.run("ls-tree", "-r", "-z", "--full-tree", commit_oid).decode()
    rows = (record.partition("\t") for record in listing.split("\0") if record)
    return {path: (meta.split()[0], meta.split()[2]) for meta, _, path in rows}


def _apply(files: Tree, head: str, operations: tuple[Add | Delete, ...], blob_of: dict[Path, str]) -> Tree:
    result = dict(files)
    for operation in operations:
        if isinstance(operation, Add):
            result[operation.path] = ("100644", blob_of[operation.staged])
        else:
            for path in _gone(result, operation, head):
                del result[path]
    _check_folders(result, [operation.path for operation in operations if isinstance(operation, Add)])
    return result


def _gone(files: Tree, operation: Delete, head: str) -> list[str]:
    """The paths that an operation removes; a folder goes as a whole, also where it is called a file."""
    prefix = f"{operation.path}/"
    gone = [operation.path] if operation.path in files and not operation.folder else []
    gone = gone or [path for path in files if path.startswith(prefix)]
    if not gone:
        problem = entry_not_found(operation.path, head)
        what = "folder" if operation.folder else "file"
        problem.message = f"A {what} with this name doesn't exist: {operation.path}"
        raise problem
    return gone


def _check_folders(files: Tree, added: list[str]) -> None:
    """Raises HubProblem (400) if a new file would be a folder, too: git would silently drop what is in it."""
    folders = {folder for path in files for folder in _folders(path)}
    for path in added:
        if path in folders:
            raise HubProblem(400, f"A folder exists where you're trying to create a file: {path}")
        if above := next((folder for folder in _folders(path) if folder in files), None):
            raise HubProblem(400, f"A file exists where you're trying to create a folder: {above}")


def _folders(path: str) -> Iterator[str]:
    position = path.find("/")
    while position != -1:
        yield path[:position]
        position = path.find("/", position + 1)


def _write_tree(repo: Repo, files: Tree, large: list[str], scratch: Path) -> str:
    """The tree of these files, its .gitattributes extended so that git-lfs sees every LFS file."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        index = Path(folder, "index")
        _add_to_index(repo, files, index)
        untracked = sorted(set(large) - lfs_tracked(repo.git, index, large))
        if untracked:
            _, oid = files.get(_GITATTRIBUTES, ("", ""))
            old = repo.git.run("cat-file", "blob", oid) if oid else b""
            new = old + (b"" if old.endswith(b"\n") or not old else b"\n")
            new += "".join(lfs_line(path) for path in untracked).encode()
            blob = repo.git.line("hash-object", "-w", "--stdin", feed=new)
            _add_to_index(repo, {_GITATTRIBUTES: ("100644", blob)}, index)
        return repo.git.line("write-tree", index=index)


def _add_to_index(repo: Repo, files: Tree, index: Path) -> None:
    feed = b"".join(f"{mode} {oid}\t{path}".encode() + b"\0" for path, (mode, oid) in files.items())
    try:
        repo.git.run("update-index", "-z", "--index-info", feed=feed, index=index)
    except GitFailed as error:
        if not repo.exists:
            raise
        raise HubProblem(400, f"git refuses a path of this commit: {error}") from error
