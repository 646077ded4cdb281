"""`git push`, received: into a folder of its own, looked at, and only then made part of the repository.

As git's receive-pack does it; without its hooks, which would be processes that know nothing of this server.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from tagship.hub_server.content import LargeFile, LargeFiles, Noted
from tagship.hub_server.durable import place
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.pkt_line import FLUSH, Command, Commands, pkt_line, read_commands, report
from tagship.hub_server.push_checks import file_problems, ref_problem
from tagship.hub_server.repos import Repo

MAX_PUSH_BYTES = 4 << 30
_CAPABILITIES = "report-status delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=tagship"
_ALL_OR_NOTHING = "nothing of a push is taken if a part of it is refused"


class _Refused(Exception):
    """Nothing is taken: why, of each ref, and what git prints of it; `unpack` is what came of the pack."""

    def __init__(self, problems: dict[str, str], messages: list[str], unpack: str = "ok") -> None:
        super().__init__(*messages)
        self.problems = problems
        self.messages = messages
        self.unpack = unpack


def advertisement(repo: Repo) -> bytes:
    """Every ref and its object, and what a push may ask for. Raises GitFailed."""
    refs = _refs(repo.git)
    lines = [f"{oid} {ref}" for ref, oid in refs.items()]
    lines[0] += f"\0{_CAPABILITIES}"
    return b"".join(pkt_line(f"{line}\n".encode()) for line in lines) + FLUSH


def receive(repo: Repo, body: Path, *, files: LargeFiles, scratch: Path) -> bytes:
    """Take the push in `body`, all or nothing; the report for the client.

    `files` are the large files that were uploaded. Raises HubProblem (400) if it is no push, GitFailed if the
    repository is gone.
    """
    used = Noted(files)
    with body.open("rb") as push:
        asked = read_commands(push)
        if not asked.commands:
            return b""  # what git sends first to find out whether it may
        try:
            with repo.git.held(fcntl.LOCK_SH), tempfile.TemporaryDirectory(dir=scratch) as folder:
                _take(repo, asked, push, Path(folder), used.find)
        except _Refused as refused:
            rest = {command.ref: _ALL_OR_NOTHING for command in asked.commands}
            return report(asked, rest | refused.problems, refused.messages, unpack=refused.unpack)
    files.settle(used.sha256s)
    return report(asked, {}, [], unpack="ok")


def _refs(git: Git) -> dict[str, str]:
    lines = git.run("for-each-ref", "--format=%(refname) %(objectname)").decode(errors="replace").splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def _take(repo: Repo, asked: Commands, push: BinaryIO, folder: Path, find: Callable[[str], LargeFile | None]) -> None:
    refs = _refs(repo.git)
    problems = {command.ref: problem for command in asked.commands if (problem := ref_problem(command, refs))}
    if problems:
        raise _Refused(problems, [f"{ref}: {problem}" for ref, problem in problems.items()])
    objects = folder / "objects"
    wanted = [command for command in asked.commands if not command.deletes]
    if wanted:
        quarantine = _quarantine(repo.git, objects)
        _unpack(quarantine, push)
        _check(quarantine, wanted, find)
        _adopt(objects / "pack", repo.git.git_dir / "objects" / "pack")
    feed = "".join(f"update {command.ref} {command.new} {command.old}\n" for command in asked.commands)
    try:
        repo.git.change("update-ref", "--stdin", feed=feed.encode())
    except GitFailed as error:
        if not repo.exists:
            raise
        raise _Refused({}, [f"git does not move the refs: {error}"]) from error


def _quarantine(git: Git, objects: Path) -> Git:
    """The repository with a place of its own for objects that it does not have yet."""
    (objects / "pack").mkdir(parents=True)
    places = {
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(git.git_dir / "objects"),
    }
    return replace(git, variables=tuple(places.items()))


def _quoted(path: Path) -> str:
    """A path in a list of paths that colons separate."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unpack(git: Git, push: BinaryIO) -> None:
    if not push.read(1):
        return  # a push that brings no object has no pack
    push.seek(-1, os.SEEK_CUR)
    try:
        git.run("index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={MAX_PUSH_BYTES}", source=push)
    except GitFailed as error:
        raise _Refused({}, ["git does not take these objects:", *str(error).splitlines()], "failed") from error


def _check(git: Git, wanted: list[Command], find: Callable[[str], LargeFile | None]) -> None:
    """Everything that git and the Hub ask of new objects. Raises _Refused."""
    tips = [command.new for command in wanted]
    peeled = git.commit_oids(tips)
    feed = "".join(f"{tip}\n" for tip in tips).encode()
    try:
        git.run("rev-list", "--objects", "--quiet", "--stdin", "--not", "--all", feed=feed)
    except GitFailed as error:
        raise _Refused({}, ["objects are missing from this push:", *str(error).splitlines()], "incomplete") from error
    kinds = git.info(tips)
    for command, commit, tip in zip(wanted, peeled, kinds, strict=True):
        is_tag = command.ref.startswith("refs/tags/")
        if commit is None or not (is_tag or (tip is not None and tip.kind == "commit")):
            raise _Refused({command.ref: "it does not lead to a commit"}, [f"{command.ref} must be a commit"])
    if problems := file_problems(git, tips, find):
        head = "The push was refused, and nothing of it was taken:"
        raise _Refused(dict.fromkeys((c.ref for c in wanted), "the Hub refuses files of it"), [head, *problems])


def _adopt(source: Path, target: Path) -> None:
    """Make the packs part of the repository; the index last, as it is what makes a pack known."""
    for path in sorted(source.iterdir(), key=lambda path: path.suffix == ".idx"):
        place(path, target / path.name)
