"""What is asked of a push before anything of it is taken: of its refs, and of each file that its commits bring."""

import re
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from tagship.hub_server.blobs import MAX_POINTER_BYTES, Pointer
from tagship.hub_server.content import LargeFile
from tagship.hub_server.file_checks import content_problem, is_binary, size_problem
from tagship.hub_server.git import ZERO_OID, Git
from tagship.hub_server.names import check_path, is_ref_name
from tagship.hub_server.pkt_line import Command
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import DEFAULT_BRANCH

_FILE_MODES = ("100644", "100755", "100664")
_OTHER_MODES = {"120000": "a symbolic link", "160000": "a submodule"}
_PULL_REQUEST = re.compile(r"refs/pr/[0-9]+", re.ASCII)
_SAMPLE_BYTES = 512
# A push of the wrong folder has thousands; these say enough.
_MOST_PROBLEMS = 20


class _Change(Struct, frozen=True):
    """A file as a commit has it."""

    mode: str
    oid: str
    path: bytes


def ref_problem(command: Command, refs: Mapping[str, str]) -> str | None:
    """Why this ref is not moved so, or None; `refs` are those that there are, with their objects."""
    prefix, name = re.fullmatch(r"(refs/(?:heads|tags)/|)(.*)", command.ref, re.DOTALL).groups()  # type: ignore[union-attr]
    if not (prefix and is_ref_name(name)) and not (_PULL_REQUEST.fullmatch(command.ref) and command.ref in refs):
        return "the Hub takes branches and tags, and pull requests that are there"
    if refs.get(command.ref, ZERO_OID) != command.old:
        return "it has moved since: fetch first"
    if command.deletes and command.ref == f"refs/heads/{DEFAULT_BRANCH}":
        return f"the branch {DEFAULT_BRANCH} cannot be deleted"
    if prefix == "refs/tags/" and command.ref in refs and not command.deletes:
        return "a tag does not move: delete it first"
    return None


def file_problems(git: Git, tips: list[str], find: Callable[[str], LargeFile | None]) -> list[str]:
    """Why files of commits that lead to `tips`, and to no ref yet, are refused; one line each.

    `find` tells which large files were uploaded. Raises GitFailed.
    """
    problems: list[str] = []
    for problem in _problems(git, _changes(git, tips), find):
        if len(problems) == _MOST_PROBLEMS:
            return [*problems, "… and more"]
        problems.append(problem)
    return problems


def _changes(git: Git, tips: list[str]) -> list[_Change]:
    """Every file that a new commit adds or changes, each path with each content once."""
    commits = git.run("rev-list", "--stdin", "--not", "--all", feed="".join(f"{tip}\n" for tip in tips).encode())
    options = ("-r", "-z", "--root", "-m", "--no-renames", "--no-commit-id", "--diff-filter=d", "--no-ext-diff")
    fields = git.run("diff-tree", "--stdin", *options, feed=commits).split(b"\0")
    # :100644 100644 <old> <new> M, and the path.
    found = [
        _Change(meta.split()[1].decode(), meta.split()[3].decode(), path)
        for meta, path in zip(fields[::2], fields[1::2], strict=False)
    ]
    return list(dict.fromkeys(found))


def _problems(git: Git, changes: list[_Change], find: Callable[[str], LargeFile | None]) -> Iterator[str]:
    files: dict[str, list[str]] = {}
    for change in changes:
        path = change.path.decode(errors="replace")
        if problem := _name_problem(change):
            yield f"{_shown(path)}: {problem}"
        else:
            files.setdefault(change.oid, []).append(path)
    small = []
    for oid, blob in zip(files, git.info(list(files)), strict=True):
        assert blob is not None
        if problem := size_problem(blob.size):
            yield f"{_shown(files[oid][0])}: {problem}"
        else:
            small.append(oid)
    for oid, content in zip(small, git.each_content(small), strict=True):
        for path in files[oid]:
            if problem := _content_problem(path, content, find):
                yield f"{_shown(path)}: {problem}"


def _name_problem(change: _Change) -> str | None:
    if change.mode not in _FILE_MODES:
        return f"is {_OTHER_MODES.get(change.mode, 'no file')}: the Hub holds files"
    try:
        check_path(change.path.decode())
    except HubProblem as problem:
        return problem.message
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    return None


def _content_problem(path: str, content: bytes, find: Callable[[str], LargeFile | None]) -> str | None:
    pointer = Pointer.parse(content) if len(content) <= MAX_POINTER_BYTES else None
    if pointer is None:
        if is_binary(content[:_SAMPLE_BYTES]):
            return "is binary: track it with git-lfs (`git lfs track`, `git lfs migrate import`), or use Xet"
        return content_problem(path, content)
    file = find(pointer.sha256)
    if file is None:
        return f"its LFS file {pointer.sha256} was never uploaded: `git lfs push --all` uploads it"
    if file.size != pointer.size:
        return f"its LFS file has {file.size} bytes, not {pointer.size} as the pointer says"
    return None


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)
