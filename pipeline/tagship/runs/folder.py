"""The files of a run or a base, wherever they are: on disk, or in a revision of the repository."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.system.json_files import parse_object
from tagship.system.known_digests import KnownDigests

if TYPE_CHECKING:
    from tagship.system.git import Repository


class Folder(Protocol):
    """Files by name; `digest` and `read` take a name that `names` lists."""

    def names(self) -> list[str]: ...

    def digest(self, name: str) -> str: ...

    def read(self, name: str) -> bytes: ...


class DiskFolder(Struct, frozen=True, kw_only=True):
    """Files on disk, by SHA-256; `known` remembers that of large ones."""

    path: Path
    known: KnownDigests | None = None

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir() if path.is_file()) if self.path.is_dir() else []

    def digest(self, name: str) -> str:
        path = self.path / name
        return f"sha256:{self.known.of(path) if self.known else sha256_of(path)}"

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


class GitFolder(Struct, frozen=True, kw_only=True):
    """Files of a revision, by git's hash of their content (of the pointer, where git LFS has them)."""

    repository: "Repository"
    files: Mapping[str, str]

    @classmethod
    def at(cls, repository: "Repository", revision: str, folder: Path) -> "GitFolder":
        below = repository.below_top(folder)
        found = repository.files_at(revision, folder)
        return cls(repository=repository, files={path.removeprefix(f"{below}/"): sha for path, sha in found.items()})

    def names(self) -> list[str]:
        return sorted(name for name in self.files if "/" not in name)

    def digest(self, name: str) -> str:
        return f"git:{self.files[name]}"

    def read(self, name: str) -> bytes:
        return self.repository.read(self.files[name])


def object_in(folder: Folder, name: str) -> dict[str, Any]:
    """The JSON object in a file of a folder; empty where there is none: what is wrong with a run is told when it is
    read, and an old release cannot be mended."""
    if name not in folder.names():
        return {}
    try:
        return parse_object(folder.read(name), name)
    except ReleaseError:
        return {}
