"""What is told of a release, wherever it is told."""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, to_builtins


class ReleasedFile(Struct, frozen=True, kw_only=True):
    """A file of a release: its path or name, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


class ReleasedRepo(Struct, frozen=True, kw_only=True):
    """A repo of a release on the Hub: what it holds (`ollama q4_k_m`), its page, the commit, its files."""

    name: str
    repo_id: str
    url: str
    commit: str
    files: tuple[ReleasedFile, ...]


class Announcement(Struct, frozen=True, kw_only=True):
    """A release that is there. `title` is what it is called, `text` what people read of it, in Markdown; `source` is
    the page of the repository, `commit` what was tagged; `archives` are those that were made here."""

    tag: str
    version: str
    prerelease: bool
    title: str
    text: str
    run: str
    base_model: str
    commit: str
    source: str | None
    repos: tuple[ReleasedRepo, ...]
    archives: tuple[ReleasedFile, ...] = ()

    def document(self) -> Mapping[str, Any]:
        """The same, as programs get it."""
        return {"schema": 1, "event": "release", **to_builtins(self)}


class Told(Struct, frozen=True, kw_only=True):
    """What became of telling: where that is seen, and whether it was so before."""

    url: str | None
    before: bool


class Place(Protocol):
    """Where releases are told of; `name` is what people call it, and the policy's key."""

    name: str

    def check(self, tag: str) -> None:
        """Raise ToolError where nothing could be told of this tag: what is known before anything is released."""

    def tell(self, announcement: Announcement) -> Told:
        """Tell of a release, or bring what was told before up to date. Raises ToolError."""


BEGIN, END = "<!-- tagship: what is between these lines is kept up to date -->", "<!-- tagship -->"


def with_text(there: str, text: str) -> str:
    """A description that somebody may have written more into, with what is told of a release: in the place where it was
    before, else below what is there."""
    ours = f"{BEGIN}\n{text.strip()}\n{END}"
    before, begin, rest = there.replace("\r\n", "\n").partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return f"{before}{ours}{after}"
    return f"{there.rstrip()}\n\n{ours}\n" if there.strip() else f"{ours}\n"
