"""What is to be published, and what of it a repository has already."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from tagship.artifacts.manifest import FileEntry
from tagship.hub.branches import Version
from tagship.hub.repository import KEPT


class Upload(Struct, frozen=True, kw_only=True):
    """What is published: the files below `folder`, which `files` lists with their checksums. `elsewhere` are the paths
    of those that are not there, or are called otherwise on this disk. `version` is given where the repo has several,
    each under its tag: then it may get a branch of its own. What it `proposes` goes into a pull request. Files of the
    paths `sent` are not here: the Hub has them already, by `send_ahead`."""

    repo_id: str
    folder: Path
    files: tuple[FileEntry, ...]
    private: bool
    message: str
    description: str
    tag: str | None
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    version: Version | None = None
    proposes: bool = False
    sent: frozenset[str] = frozenset()

    @property
    def here(self) -> dict[str, Path]:
        """Where the files that are on this disk are, by their paths."""
        return {entry.path: self.source(entry.path) for entry in self.files if entry.path not in self.sent}

    def source(self, path: str) -> Path:
        """Where a file of the upload is on this disk."""
        return self.elsewhere.get(path, self.folder / path)


class Commit(Struct, frozen=True, kw_only=True):
    """The commit that holds an upload's files, but for those of the `kept` paths: there it has what was published with
    the same release before. `branch` is what it was made on, where that is not main: a branch, or a pull request."""

    sha: str
    kept: tuple[str, ...] = ()
    branch: str | None = None

    @property
    def revision(self) -> str:
        """By what its files are found: those of a pull request by its name."""
        return self.branch if self.branch and self.branch.startswith("refs/") else self.sha


def difference(upload: Upload, remote: Mapping[str, Any]) -> tuple[list[FileEntry], list[str]]:
    """The files that a repository lacks or has otherwise, and the paths that it should not have."""
    changed = [
        entry for entry in upload.files if not same_content(entry, remote.get(entry.path), upload.source(entry.path))
    ]
    return changed, sorted(remote.keys() - {entry.path for entry in upload.files} - set(KEPT))


def same_content(entry: FileEntry, remote: Any, source: Path) -> bool:
    """Whether a remote file has the content of an entry, which is at `source`: by SHA-256 where it is a large file,
    else by git's own hash of it."""
    if remote is None or remote.size != entry.size:
        return False
    if remote.lfs is not None:
        return bool(remote.lfs.sha256 == entry.sha256)
    if not source.is_file():  # a large one that was sent ahead
        return False
    from huggingface_hub.utils.sha import git_hash

    return bool(remote.blob_id == git_hash(source.read_bytes()))
