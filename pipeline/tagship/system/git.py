"""The repository that a release is made from."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git_objects import Commit, ListedTag, LoggedCommit, RemoteTag, Tag
from tagship.system.git_program import ANSWER_SECONDS, Git

# For a push, which may have much to send.
_PUSH_SECONDS = 900
# Where the signature of a signed tag begins, after its message (git's gpg-interface.c).
_SIGNATURE = re.compile(r"^-----BEGIN (PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----$", re.MULTILINE)


class Repository:
    """The git repository that holds `folder`. Raises ReleaseError where there is none, and
    ToolError with git's own words where git refuses to read it."""

    def __init__(self, folder: Path) -> None:
        self._program = Git(folder)
        self.folder = self._program.folder
        self.is_bare = self._program.is_bare

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self._program.close()

    def program_version(self) -> str:
        """Git's own version."""
        return self._program.run("version").removeprefix("git version ").split(" ")[0]

    def below_top(self, path: Path) -> str:
        """A path as git writes it, below the repository's top; one that is outside stays as it is."""
        path, top = path.resolve(), self.folder.resolve()
        return (path.relative_to(top) if path.is_relative_to(top) else path).as_posix()

    def head(self) -> Commit:
        """The commit that is checked out. Raises ReleaseError in a repository without commits, ToolError with git's
        words for one that it does not read."""
        if self._program.answer("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
            self._program.run("rev-parse", "--git-dir")  # of a repository that it trusts, and whose format it knows
            raise ReleaseError(
                f"the repository {self.folder} has no commit yet",
                remedy="git add . && git commit",
            )
        return self._commit("HEAD")

    def tag(self, name: str, *, meant: str | None = None) -> Tag:
        """The tag of that name. Raises ReleaseError when there is none, with how to make it, or the one that is
        `meant`."""
        if not self.has_tag(name):
            made = meant or name
            if made != name and self.has_tag(made):
                raise ReleaseError(f"there is no tag {name!r}", remedy=f"did you mean --tag {made}?")
            there = self._tag_names("--sort=-creatordate", "--count=3")
            told = f"name one that there is, such as {' or '.join(there)}, or make it: " if there else ""
            raise ReleaseError(f"there is no tag {name!r}", remedy=f'{told}git tag {made} -m "Release {made}: …"')
        if self._program.answer("rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}") is None:
            raise ReleaseError(f"the tag {name!r} names no commit", remedy="name another one with --tag")
        message = self._message(f"refs/tags/{name}")
        return Tag(name=name, commit=self._commit(f"refs/tags/{name}"), message=message)

    def annotation_on(self, remote: str, name: str) -> str | None:
        """The message that a tag has on a remote, where it is annotated there and on the commit that it has here. What
        checks a tag out for CI may leave it here as a name of the commit. Raises ToolError when the remote does not
        answer."""
        found = self.remote_tags(remote).get(name)
        if found is None or found.sha == found.commit or found.commit != self.tagged_commit(name):
            return None
        if self._program.answer("cat-file", "-e", found.sha) is None:
            self._program.ask(ANSWER_SECONDS, "fetch", "--quiet", "--no-tags", "--depth=1", remote, f"refs/tags/{name}")
        return self._message(found.sha)

    def has_tag(self, name: str) -> bool:
        """Whether there is a tag of that name."""
        return bool(self._program.run("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{name}") == name)

    def tag_hash(self, name: str) -> str:
        """The hash of a tag itself: of the annotation, where it has one, else of its commit."""
        return self._program.run("rev-parse", "--verify", f"refs/tags/{name}")

    def tagged_commit(self, name: str) -> str:
        """The hash of the commit that a tag is on, through whatever tags it is a tag of."""
        return self._program.run("rev-parse", "--verify", f"refs/tags/{name}^{{commit}}")

    def tags_at(self, commit: Commit) -> tuple[str, ...]:
        """The names of all tags on a commit."""
        return self._tags_pointing_at(commit.sha)

    def has_commit(self, sha: str) -> bool:
        """Whether this clone has a commit, by its hash."""
        return self._program.answer("cat-file", "-e", f"{sha}^{{commit}}") is not None

    def objects(self) -> Path:
        """The folder of git's objects."""
        return (self.folder / self._program.run("rev-parse", "--git-path", "objects")).resolve()

    def tags_on(self, sha: str) -> tuple[str, ...]:
        """The names of all tags on a commit, by its hash; none where this clone does not have it."""
        return self._tags_pointing_at(sha) if self.has_commit(sha) else ()

    def _tags_pointing_at(self, sha: str) -> tuple[str, ...]:
        found: list[str] = []
        pointing = [sha]
        while pointing:  # git before 2.43 looks through one tag alone, and there are tags of tags
            fields = "--format=%(objecttype) %(objectname) %(refname:strip=2)"
            listed = self._program.run(
                "for-each-ref", *(f"--points-at={each}" for each in pointing), fields, "refs/tags"
            )
            new = [entry for line in _lines_of(listed) if (entry := line.split(" ", 2))[2] not in found]
            found += [name for _, _, name in new]
            pointing = [tag for kind, tag, _ in new if kind == "tag"]
        return tuple(sorted(found))

    def tags_before(self, commit: Commit) -> tuple[str, ...]:
        """The names of all tags on a commit and on those that it was made from."""
        return self._tag_names(f"--merged={commit.sha}")

    def tag_names(self) -> tuple[str, ...]:
        """The names of all tags."""
        return self._tag_names()

    def list_tags(self) -> Iterator[ListedTag]:
        """Every tag but those of trees and files, as one `git for-each-ref` gives them."""
        # %(object) is in the tag itself; %(*objectname) would read the commit of each one.
        fields = ("%(refname:strip=2)", "%(objecttype)", "%(objectname)", "%(object)", "%(type)")
        line = "%00".join((*fields, "%(creatordate:iso-strict)", "%(contents:subject)"))
        for listed in self._program.lines("for-each-ref", f"--format={line}", "refs/tags"):
            name, kind, sha, tagged, of, date, subject = listed.split("\0")
            if of == "tag":  # a tag of a tag
                tagged = self._program.answer("rev-parse", "--verify", "--quiet", f"{sha}^{{commit}}") or ""
                of = "commit" if tagged else ""
            if "commit" in (kind, of):
                yield ListedTag(name, sha, tagged or sha, date, subject, kind == "tag")

    def create_tag(self, name: str, message: str) -> None:
        """An annotated tag on HEAD; its message is kept as it is, with lines that begin with '#'."""
        # Through a file: the kernel takes no argument as long as the notes of a thousand commits.
        with tempfile.TemporaryFile() as text:
            text.write(message.encode(errors="surrogateescape"))
            text.seek(0)
            self._program.run("tag", "--annotate", "--cleanup=whitespace", "--file=-", "--", name, stdin=text)

    def log(self, since: str | None, until: str, *, with_paths: bool = False) -> list[LoggedCommit]:
        """The commits that `until` was made from and `since` was not, newest first, each before its parents."""
        revisions = ("--date-order", until, *((f"^{since}",) if since else ()), "--")
        paths = self._logged_paths(revisions) if with_paths else {}
        commits = []
        for entry in filter(None, self._log("--format=%H%n%P%n%aN%n%cI%n%B", *revisions).split("\0")):
            sha, parents, author, time, message = entry.split("\n", 4)
            made = datetime.fromisoformat(time).astimezone(UTC)
            touched = tuple(paths.get(sha, ()))
            commits.append(
                LoggedCommit(
                    sha=sha,
                    author=author,
                    time=made,
                    message=message.strip(),
                    parents=tuple(parents.split()),
                    paths=touched,
                )
            )
        return commits

    def _logged_paths(self, revisions: Sequence[str]) -> dict[str, list[str]]:
        # No path is empty, so that two NUL in a row only come after a commit's hash.
        printed = self._log(
            "--name-only", "--no-renames", "--diff-merges=first-parent", "--format=%x00%H%x00", *revisions
        )
        commits = re.finditer(r"\0([0-9a-f]{40,64})\0\0(?:\n((?:[^\0]+\0)+))?", printed)
        return {found[1]: (found[2] or "").split("\0")[:-1] for found in commits}

    def _log(self, *arguments: str) -> str:
        # Whatever the user's configuration says of signatures and of the log's encoding.
        return self._program.run("log", "-z", "--no-show-signature", "--encoding=UTF-8", *arguments)

    def missing_history(self, since: str | None, until: str) -> bool:
        """Whether commits between the two are not in this clone, because it is shallow."""
        file = Path(self._program.run("rev-parse", "--git-path", "shallow"))
        shallow = self.folder / file
        if not shallow.is_file():
            return False
        cut = set(shallow.read_text(encoding="ascii").split())
        return not cut.isdisjoint(self._program.run("rev-list", until, *((f"^{since}",) if since else ())).split())

    def files_at(self, revision: str, folder: Path) -> dict[str, str]:
        """The files below a folder at a revision: the hash of their content by POSIX path below the
        repository's top. Empty where the folder is not in the repository."""
        below = self.below_top(folder)
        if Path(below).is_absolute():
            return {}
        listed = self._program.run("ls-tree", "-r", "-z", "--full-tree", revision, "--", f"{below}/")
        entries = (entry.split("\t", 1) for entry in listed.split("\0") if entry)
        return {path: meta.split()[2] for meta, path in entries}

    def file_at(self, revision: str, path: Path) -> bytes | None:
        """The bytes of a file at a revision, or None where it was not there."""
        listed = self._program.run("ls-tree", "-z", "--full-tree", revision, "--", self.below_top(path))
        return self.read(listed.split("\t", 1)[0].split()[2]) if listed else None

    def changed_files(self, since: str, until: str) -> tuple[str, ...]:
        """The paths that differ between two revisions (POSIX, below the repository's top)."""
        listed = self._program.run("diff", "--name-only", "-z", "--no-renames", since, until, "--")
        return tuple(filter(None, listed.split("\0")))

    def read(self, content: str) -> bytes:
        """The bytes of a file by the hash of its content."""
        return self._program.content("blob", content)

    def branch_of_releases(self, named: str | None, remote: str) -> str | None:
        """The release branch: what the policy says, else the remote's default, else main or master.
        None where there is no such branch."""
        default = self._program.answer("symbolic-ref", "--quiet", "--short", f"refs/remotes/{remote}/HEAD") or ""
        wanted = (named,) if named else (default.removeprefix(f"{remote}/"), "main", "master")
        for branch in filter(None, wanted):
            if any(
                self._program.answer("rev-parse", "--verify", "--quiet", ref) for ref in _branch_refs(branch, remote)
            ):
                return branch
        return None

    def is_on_branch(self, commit: Commit, branch: str, remote: str) -> bool:
        """Whether a branch, here or on the remote as it was last fetched, has a commit."""
        return any(
            self._program.answer("merge-base", "--is-ancestor", commit.sha, ref) is not None
            for ref in _branch_refs(branch, remote)
        )

    def is_on_remote(self, commit: Commit, remote: str) -> bool:
        """Whether a branch of the remote, as it was last fetched, has a commit."""
        return bool(self._program.answer("for-each-ref", f"--contains={commit.sha}", f"refs/remotes/{remote}/"))

    def remotes(self) -> list[str]:
        """The names of all remotes."""
        return _lines_of(self._program.run("remote"))

    def ignored(self, paths: Sequence[Path]) -> set[Path]:
        """Those of some paths that git passes over, by its .gitignore."""
        with tempfile.TemporaryFile() as text:
            text.write("\0".join(map(str, paths)).encode(errors="surrogateescape"))
            text.seek(0)
            try:
                listed = self._program.run("check-ignore", "-z", "--stdin", stdin=text)
            except ToolError:  # as it says that there are none
                return set()
        return {Path(path) for path in listed.split("\0") if path}

    def remote_url(self, remote: str) -> str | None:
        """The address of a remote, or None where there is no remote of that name."""
        return self._program.answer("remote", "get-url", remote)

    def remote_tags(self, remote: str, *, seconds: float = ANSWER_SECONDS) -> dict[str, RemoteTag]:
        """Each tag on a remote, by its name and one request. Raises ToolError when it does not answer in so
        many seconds."""
        listed = self._program.ask(seconds, "ls-remote", "--tags", "--quiet", remote)
        pairs = [line.split("\t", 1) for line in _lines_of(listed)]
        hashes = {name.removeprefix("refs/tags/"): sha for sha, name in pairs}
        return {
            name: RemoteTag(sha=sha, commit=hashes.get(f"{name}^{{}}", sha))
            for name, sha in hashes.items()
            if not name.endswith("^{}")
        }

    def push_tag(self, remote: str, name: str) -> None:
        """Push a tag. Raises ToolError with git's words when the remote refuses it."""
        self._program.ask(_PUSH_SECONDS, "push", "--quiet", remote, f"refs/tags/{name}:refs/tags/{name}")

    def changed_paths(self, leaving_out: Sequence[Path] = ()) -> tuple[str, ...]:
        """What is modified, staged or untracked, but for what lies in the folders left out."""
        inside = [path for path in leaving_out if path.is_relative_to(self.folder)]
        excluded = [f":(top,literal,exclude){path.relative_to(self.folder).as_posix()}" for path in inside]
        options = ("--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames")
        listed = self._program.run("status", *options, "--", ":/", *excluded)
        return tuple(entry[3:] for entry in listed.split("\0") if entry)

    def uncommitted(self, places: Iterable[Path]) -> tuple[str, ...]:
        """What of these files and folders no commit has as it is here: changed and untracked files, what is ignored as
        a whole, and what is outside of the repository, or leads there."""
        there = [path for path in places if path.exists() or path.is_symlink()]
        top = self.folder.resolve()
        # As it is called, and where it leads to.
        both = dict.fromkeys(each for path in there for each in (path.parent.resolve() / path.name, path.resolve()))
        outside = [path.as_posix() for path in both if not path.is_relative_to(top)]
        inside = [path.relative_to(top).as_posix() for path in both if path.is_relative_to(top)]
        if not inside:
            return tuple(outside)
        options = ("--porcelain=v1", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
        listed = self._program.run("status", *options, "--", *(f":(top,literal){name}" for name in inside))
        entries = [entry for entry in listed.split("\0") if entry]
        kept = [entry for entry in entries if not entry.startswith("!!") or entry[3:].rstrip("/") in inside]
        return (*(entry[3:] for entry in kept), *outside)

    def _commit(self, revision: str) -> Commit:
        sha, time = self._program.run("log", "-1", "--no-show-signature", "--format=%H %ct", revision, "--").split()
        return Commit(sha=sha, time=datetime.fromtimestamp(int(time), UTC))

    def _message(self, tag: str) -> str | None:
        """The message of an annotated tag, by its name or hash; None for one that is not annotated."""
        if self._program.run("cat-file", "-t", tag) != "tag":
            return None
        return _text(self._program.content("tag", tag).partition(b"\n\n")[2])

    def _tag_names(self, *which: str) -> tuple[str, ...]:
        return tuple(_lines_of(self._program.run("for-each-ref", *which, "--format=%(refname:strip=2)", "refs/tags")))


def _lines_of(printed: str) -> list[str]:
    """What git prints, by its line feeds alone: a tag's name may hold what Python takes for a line's end."""
    return printed.split("\n") if printed else []


def _branch_refs(branch: str, remote: str) -> tuple[str, str]:
    return f"refs/heads/{branch}", f"refs/remotes/{remote}/{branch}"


def _text(message: bytes) -> str:
    text = message.decode(errors="replace")
    return text[: found.start()] if (found := _SIGNATURE.search(text)) else text
