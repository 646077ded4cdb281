"""The repository that a release is made from: the only module that imports GitPython."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import ReleaseError, ToolError

try:
    import git
except ImportError as error:  # GitPython looks for the git program when it is imported
    raise ReleaseError("git is not installed", remedy="apt-get install git") from error

# Where the signature of a signed tag begins, after its message (git's gpg-interface.c).
_SIGNATURE = re.compile(r"^-----BEGIN (PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of the repository: its full hash and its committer's time in UTC."""

    sha: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A git tag: the commit it names, and its message if it is annotated."""

    name: str
    commit: Commit
    message: str | None

    @property
    def annotated(self) -> bool:
        return self.message is not None


class Repository:
    """The git repository that holds `folder`. Raises ReleaseError where there is none, and
    ToolError with git's own words where git refuses to read it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._repo = git.Repo(folder, search_parent_directories=True)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError):
            raise ReleaseError(
                f"{folder} is in no git repository, so a release could not say which code it came from",
                remedy="git init && git add . && git commit",
            ) from None
        self.folder = Path(self._repo.working_dir)

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self._repo.close()  # ends the `git cat-file` processes that GitPython keeps

    def head(self) -> Commit:
        """The commit that is checked out. Raises ReleaseError in a repository without commits."""
        try:
            return _commit(self._repo.head.commit)
        except ValueError:
            raise ReleaseError(
                f"the repository {self.folder} has no commit yet",
                remedy="git add . && git commit",
            ) from None

    def tag(self, name: str) -> Tag:
        """The tag of that name. Raises ReleaseError when there is none."""
        reference = next((tag for tag in self._repo.tags if tag.name == name), None)
        if reference is None:
            raise ReleaseError(f"there is no tag {name!r}", remedy=f'git tag {name} -m "Release {name}: …"')
        try:
            commit = _commit(reference.commit)
        except ValueError:
            raise ReleaseError(f"the tag {name!r} names no commit", remedy="name another one with --tag") from None
        return Tag(name=name, commit=commit, message=_text(reference.tag.message) if reference.tag else None)

    def tags_at(self, commit: Commit) -> tuple[str, ...]:
        """The names of all tags on a commit."""
        listed = self._git("for-each-ref", f"--points-at={commit.sha}", "--format=%(refname:strip=2)", "refs/tags")
        return tuple(listed.splitlines())

    def changed_paths(self, leaving_out: Sequence[Path] = ()) -> tuple[str, ...]:
        """What is modified, staged or untracked, but for what lies in the folders left out."""
        inside = [path for path in leaving_out if path.is_relative_to(self.folder)]
        excluded = [f":(top,literal,exclude){path.relative_to(self.folder).as_posix()}" for path in inside]
        options = ("--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames")
        listed = self._git("status", *options, "--", ":/", *excluded)
        return tuple(entry[3:] for entry in listed.split("\0") if entry)

    def _git(self, command: str, *arguments: str) -> str:
        try:
            return str(getattr(self._repo.git, command.replace("-", "_"))(*arguments))
        except git.GitCommandError as error:
            said = str(error.stderr).strip().removeprefix("stderr: ").strip("'")
            raise ToolError(f"git {command}: {said}") from None


def _commit(commit: git.Commit) -> Commit:
    return Commit(sha=commit.hexsha, time=datetime.fromtimestamp(commit.committed_date, UTC))


def _text(message: str | bytes) -> str:
    text = message if isinstance(message, str) else message.decode(errors="replace")
    return text[: found.start()] if (found := _SIGNATURE.search(text)) else text
