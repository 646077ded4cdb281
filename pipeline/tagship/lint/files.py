"""The files of a folder or of a repository on a Hub, of which no more than the beginnings is read."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from msgspec import Struct

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import refuse_pointer
from tagship.system.json_files import parse_object

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What is fetched of a remote file at a time: a header, or most of one.
_BLOCK_BYTES = 1 << 20
# Configurations, indexes and manifests; the largest that there are have a few MB.
_MAX_DOCUMENT_BYTES = 20_000_000


class Files(Protocol):
    """Files by their POSIX paths below a folder; `place` is what the folder is called in messages."""

    @property
    def place(self) -> str: ...

    def names(self) -> list[str]:
        """All files, but for those in folders below that are no GGUF."""
        ...

    def open(self, name: str) -> AbstractContextManager[tuple[BinaryIO, int]]:
        """The file, opened for reading, and its size in bytes."""
        ...


class DiskFiles(Struct, frozen=True, kw_only=True):
    """The files of a folder on this disk, or one of them, `only`."""

    folder: Path
    only: str | None = None

    @property
    def place(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        if self.only is not None:
            return [self.only]
        try:
            found = [*self.folder.iterdir(), *self.folder.glob("*/*.gguf")]
        except OSError as error:
            raise ReleaseError(f"{self.folder} cannot be read: {error.strerror}") from None
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        path = self.folder / name
        try:
            with path.open("rb") as file:
                yield file, path.stat().st_size
        except OSError as error:
            raise ReleaseError(f"{path} cannot be read: {error.strerror}") from None


class HubFiles(Struct, frozen=True, kw_only=True):
    """The files of a repository at a commit of a Hub, read by ranges."""

    api: "HfApi"
    repo_id: str
    revision: str
    sizes: dict[str, int]

    @property
    def place(self) -> str:
        return self.repo_id

    def names(self) -> list[str]:
        return sorted(name for name in self.sizes if "/" not in name or name.endswith(".gguf"))

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        from huggingface_hub import HfFileSystem

        with hub_errors(f"read {name} of {self.repo_id}"):
            remote = HfFileSystem(endpoint=self.api.endpoint, token=self.api.token, skip_instance_cache=True)
            path = f"{self.repo_id}/{name}"
            # Not streamed: what is fetched are ranges, as they are read.
            with remote.open(path, "rb", revision=self.revision, block_size=_BLOCK_BYTES) as raw:
                yield cast(BinaryIO, io.BufferedReader(raw, _BLOCK_BYTES)), self.sizes[name]


def files_on_hub(hub: Hub, repo_id: str, revision: str | None = None) -> HubFiles:
    """A repository's files, listed. Raises ReleaseError when there is no such repository, ToolError when the Hub does
    not answer."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with hub_errors(f"look up {repo_id}"):
        try:
            info = hub.reading(repo_id).model_info(repo_id, revision=revision, files_metadata=True)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            at = f" at {revision}" if revision else ""
            raise ReleaseError(
                f"there is no model {repo_id}{at} on {hub.url}, or the token may not see it",
                remedy="name it as namespace/name; --hub says on which Hub",
            ) from None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return HubFiles(api=hub.reading(repo_id), repo_id=repo_id, revision=str(info.sha), sizes=sizes)


def document_in(files: Files, name: str) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none. Raises ReleaseError when it is no JSON object."""
    if name not in files.names():
        return {}
    where = f"{files.place}/{name}"
    with files.open(name) as (file, size):
        if size > _MAX_DOCUMENT_BYTES:
            raise ReleaseError(f"{where} has {size} bytes, more than any such file")
        content = file.read()
    refuse_pointer(Path(where), content)
    return parse_object(content, where)
