"""The large files of all of a repository's history, and a history that never had some of them."""

import tempfile
from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from tagship.hub_server.blobs import MAX_POINTER_BYTES, Pointer
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.history import refs
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo

_KINDS = ("heads", "pr", "tags")


class PushedFile(Struct, frozen=True, kw_only=True):
    """A large file: a path that it has or had, the ref that leads to it, when it came (Unix time).

    `blob` is the pointer's id in git.
    """

    pointer: Pointer
    blob: str
    path: str
    ref: str
    time: int


def _refs(repo: Repo) -> list[str]:
    """All refs, the default branch first."""
    found = [ref.ref for kind in _KINDS for ref in refs(repo, kind)]
    main = f"refs/heads/{DEFAULT_BRANCH}"
    return sorted(found, key=lambda ref: (ref != main, _KINDS.index(ref.split("/")[1])))


def _added(git: Git, ref: str, before: Collection[str]) -> dict[str, tuple[str, int]]:
    """Each blob that came with the commits of a ref that others before don't have: its path, and the commit's time."""
    log = ("log", "--raw", "--no-abbrev", "-z", "--no-renames", "--root", "-m", "--format=%x01%ct", "--reverse")
    output = git.run(*log, ref, "--not", *before).decode(errors="replace")
    found: dict[str, tuple[str, int]] = {}
    fields, time = iter(output.split("\0")), 0
    for field in fields:
        if field.startswith("\x01"):
            time = int(field[1:])
        elif field.lstrip("\n").startswith(":"):
            found.setdefault(field.split(" ")[3], (next(fields), time))
    return found


def pushed_files(repo: Repo) -> list[PushedFile]:
    """Every large file that a commit of the repository has or had, once, by the first ref that leads to it."""
    git, found, before = repo.git, [], list[str]()
    seen: set[str] = set()
    for ref in _refs(repo):
        blobs = {blob: where for blob, where in _added(git, ref, before).items() if blob not in seen}
        before.append(ref)
        seen |= set(blobs)
        for blob, pointer in _pointers(git, list(blobs)).items():
            path, time = blobs[blob]
            found.append(PushedFile(pointer=pointer, blob=blob, path=path, ref=ref, time=time))
    return found


def _pointers(git: Git, blobs: list[str]) -> dict[str, Pointer]:
    feed = "".join(f"{blob}\n" for blob in blobs).encode()
    answers = git.run("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", feed=feed).decode()
    rows = [answer.split() for answer in answers.splitlines()]
    small = [row[0] for row in rows if row[1] == "blob" and int(row[2]) <= MAX_POINTER_BYTES]
    parsed = zip(small, map(Pointer.parse, git.contents(small)), strict=True)
    return {blob: pointer for blob, pointer in parsed if pointer}


def forget(repo: Repo, blobs: Collection[str], *, scratch: Path) -> None:
    """Rewrite all commits so that no file is one of these blobs, and move every ref to what became of its commit.

    Commits that never had one stay what they are. Raises HubProblem (409) if a ref moves meanwhile.
    """
    git = repo.git
    heads = {ref: git.line("rev-parse", ref) for ref in _refs(repo)}
    became: dict[str, str] = {}
    for commit in git.run("rev-list", "--topo-order", "--reverse", *heads).decode().split():
        became[commit] = _rewritten(git, commit, became, blobs, scratch)
    lines = []
    for ref, old in heads.items():
        commit = git.line("rev-parse", f"{ref}^{{commit}}")
        if became[commit] != commit:
            new = became[commit] if old == commit else _retagged(git, old, became[commit])
            lines.append(f"update {ref} {new} {old}\n")
    try:
        git.run("update-ref", "--stdin", feed="".join(lines).encode())
    except GitFailed as error:
        raise HubProblem(409, "The repository was updated meanwhile. Please try again.") from error


def _rewritten(git: Git, commit: str, became: dict[str, str], blobs: Collection[str], scratch: Path) -> str:
    header, _, message = git.run("cat-file", "commit", commit).partition(b"\n\n")
    lines = []
    for line in header.split(b"\n"):
        word, _, value = line.partition(b" ")
        if word == b"tree":
            value = _without(git, value.decode(), blobs, scratch).encode()
        elif word == b"parent":
            value = became[value.decode()].encode()
        lines.append(word + b" " + value)
    return git.line("hash-object", "-t", "commit", "-w", "--stdin", feed=b"\n".join(lines) + b"\n\n" + message)


def _without(git: Git, tree: str, blobs: Collection[str], scratch: Path) -> str:
    """The tree without the files that are one of the blobs."""
    records = [record for record in git.run("ls-tree", "-r", "-z", tree).split(b"\0") if record]
    kept = [record for record in records if record.partition(b"\t")[0].split()[2].decode() not in blobs]
    if len(kept) == len(records):
        return tree
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        index = Path(folder, "index")
        git.run("update-index", "-z", "--index-info", feed=b"".join(record + b"\0" for record in kept), index=index)
        return git.line("write-tree", index=index)


def _retagged(git: Git, tag: str, commit: str) -> str:
    """An annotated tag that says the same of another commit."""
    _, _, rest = git.run("cat-file", "tag", tag).partition(b"\n")
    return git.line("mktag", feed=f"object {commit}\n".encode() + rest)
