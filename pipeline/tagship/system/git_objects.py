"""What a git repository holds, as values: commits and tags."""

from datetime import datetime
from typing import NamedTuple

from msgspec import Struct


class Commit(Struct, frozen=True, kw_only=True):
    """A commit of the repository: its full hash and its committer's time in UTC."""

    sha: str
    time: datetime


class LoggedCommit(Struct, frozen=True, kw_only=True):
    """A commit in the log: who wrote it, its whole message, the hashes of its parents, and the paths that it touched
    (POSIX, below the repository's top; of a merge those that differ from its first parent; empty where nobody asked
    for them)."""

    sha: str
    author: str
    time: datetime
    message: str
    parents: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def is_merge(self) -> bool:
        return len(self.parents) > 1


class Tag(Struct, frozen=True, kw_only=True):
    """A git tag: the commit it names, and its message if it is annotated."""

    name: str
    commit: Commit
    message: str | None

    @property
    def annotated(self) -> bool:
        return self.message is not None


class RemoteTag(NamedTuple):
    """A tag on a remote: its own hash, which is that of its annotation where it has one, and the commit it names."""

    sha: str
    commit: str


class ListedTag(NamedTuple):
    """A tag in a list: its own hash, the commit it names, when it was made (ISO 8601), the first line
    of its message, or of its commit's where it is not annotated. A tuple, as there may be very many."""

    name: str
    sha: str
    commit: str
    date: str
    subject: str
    annotated: bool
