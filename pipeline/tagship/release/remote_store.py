"""Results of units at an address that fsspec knows: S3, Google Cloud Storage, whatever else it has a file system for.

Files are kept by their digests, and a result's index, which names them, is written last, in one piece: a result whose
index is not there is not there. Two workers that make the same bytes write the same files, whoever is first; and one
that was killed leaves what the next one writes over. How often a request is tried again is the file system's own.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tagship.release.result_store import FolderStore, ResultStore
from tagship.system.disk import told
from tagship.system.errors import ReleaseError, ToolError, UsageError
from tagship.system.files import sha256_of
from tagship.system.shown import masked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_INDEX, _FILES = "index.json", "files"
# File systems that are this machine's own folders; and the one that ends with its process.
_LOCAL, _MEMORY = ("file", "local"), "memory"
# Those in which a folder has to be made. Elsewhere that would make a bucket, of a name that may be mistyped.
_WITH_FOLDERS = {"sftp", "ssh", "smb", "ftp", "hdfs", "arrow_hdfs", "webhdfs"}


def is_address(results: str) -> bool:
    """Whether results are at an address, not in a folder."""
    return "://" in results


def open_store(results: str) -> ResultStore:
    """Where results are: a folder, or an address such as `s3://bucket/folder`. Raises UsageError for an address that no
    file system is known for, or whose package is not installed."""
    if not is_address(results):
        return FolderStore(Path(results).absolute())
    address = urlsplit(results)
    if address.scheme in _LOCAL and address.netloc in ("", "localhost") and address.path:
        return FolderStore(Path(address.path))
    if address.scheme == _MEMORY:
        raise UsageError(f"{results} ends with the process that writes it", remedy="name a folder, or a bucket")
    if not (address.netloc + address.path).strip("/"):
        raise UsageError(f"{results} names no place for results", remedy=f"{address.scheme}://BUCKET/FOLDER")
    return RemoteStore(results)


class RemoteStore:
    """Results at an address. Raises UsageError where no file system is known for it, or its package is not there."""

    def __init__(self, address: str) -> None:
        self._address = masked(address).rstrip("/")
        self._files, self._root = _file_system(address)
        self._has_folders = urlsplit(address).scheme in _WITH_FOLDERS

    @property
    def place(self) -> str:
        return self._address

    def check(self) -> None:
        probe = self._at(f".probe-{secrets.token_hex(8)}")
        with self._asking("be written to"):
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)

    def put(self, name: str, files: Mapping[str, Path]) -> None:
        entries = {path: {"sha256": sha256_of(file), "size": file.stat().st_size} for path, file in files.items()}
        if self._has_folders:
            with self._asking("be written to"):
                self._files.makedirs(self._at(name, _FILES), exist_ok=True)
        for path, file in files.items():
            with self._asking(f"take {name}/{path}"):
                self._files.put_file(str(file), self._at(name, _FILES, str(entries[path]["sha256"])))
        with self._asking(f"take {name}"):
            self._files.pipe_file(self._at(name, _INDEX), json.dumps({"files": entries}, indent=2).encode())

    def has(self, name: str) -> bool:
        return self._read(self._at(name, _INDEX)) is not None

    def get(self, name: str, folder: Path) -> bool:
        index = self._read(self._at(name, _INDEX))
        if index is None:
            return False
        for path, digest in _entries(name, index).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._asking(f"give {name}/{path}", writes=False):
                    self._files.get_file(self._at(name, _FILES, digest), str(target))
            except FileNotFoundError:
                raise ReleaseError(f"{path} is gone from {self._address}/{name}") from None
            if sha256_of(target) != digest:
                raise ReleaseError(f"{path} was changed in {self._address}/{name}")
        return True

    def remove(self, name: str) -> None:
        """The index first: without it nothing of the name is there."""
        for what, recursive in ((self._at(name, _INDEX), False), (self._at(name), True)):
            try:
                with self._asking(f"remove {name}", writes=False):
                    if self._files.exists(what):  # of what is not there, not all say so by the same error
                        self._files.rm(what, recursive=recursive)
            except FileNotFoundError:
                continue

    def _at(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _read(self, path: str) -> bytes | None:
        """What a file has; None where there is none."""
        try:
            with self._asking("be read", writes=False):
                return bytes(self._files.cat_file(path))
        except FileNotFoundError:
            return None

    @contextmanager
    def _asking(self, doing: str, *, writes: bool = True) -> Iterator[None]:
        """Turn what a file system raises into ToolError, but for a disk of this machine that takes nothing more, and,
        unless it `writes`, a file that is not there. What was listed before is not remembered: others write there,
        too."""
        self._files.invalidate_cache()
        try:
            yield
        except FileNotFoundError as error:
            if writes or _is_no_bucket(error):
                raise self._refusal(doing, error) from error
            raise
        except Exception as error:  # of many libraries, none of which is known here
            if isinstance(error, OSError) and error.filename and told(error):
                raise
            raise self._refusal(doing, error) from error

    def _refusal(self, doing: str, error: Exception) -> ToolError:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return ToolError(
            f"{self._address} could not {doing}: {type(error).__name__}: {masked(said):.300}",
            remedy="see that the bucket is there, that this machine has what lets it in (as the variables of its "
            "service), and the network; the same command goes on where this one stopped",
        )


def _is_no_bucket(error: FileNotFoundError) -> bool:
    """Whether it is the bucket that is not there: of which S3's file system says the same as of a file in it."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", {})
    return answer.get("Error", {}).get("Code") == "NoSuchBucket"


def _file_system(address: str) -> "tuple[AbstractFileSystem, str]":
    from fsspec.core import url_to_fs
    from fsspec.registry import get_filesystem_class, known_implementations

    protocol = urlsplit(address).scheme
    try:
        get_filesystem_class(protocol)
    except ImportError:
        module = str(known_implementations[protocol]["class"]).partition(".")[0]
        needed = module if module != "fsspec" else str(known_implementations[protocol].get("err"))
        raise UsageError(
            f"{protocol}:// needs {needed}, which is not installed",
            remedy=f"pip install {needed}" if module != "fsspec" else None,
        ) from None
    except ValueError:
        raise UsageError(
            f"no file system is known for {protocol}://",
            remedy="name a folder, or an address such as s3://bucket/folder or gs://bucket/folder",
        ) from None
    try:
        files, root = url_to_fs(address)
    except Exception as error:  # of what an address may be, each file system has its own idea
        raise UsageError(
            f"{masked(address)} cannot be opened: {type(error).__name__}: {masked(str(error)):.200}"
        ) from error
    return files, str(root).rstrip("/")


def _entries(name: str, index: bytes) -> dict[str, str]:
    """The digest of each file by its path. Raises ReleaseError for an index that is none: its paths become those of
    files here, and its digests those of files there."""
    try:
        listed: dict[str, Any] = json.loads(index)["files"]
        entries = {str(path): str(entry["sha256"]) for path, entry in listed.items()}
        if not all(_is_below(path) for path in entries) or not all(digest.isalnum() for digest in entries.values()):
            raise ValueError("a path leads elsewhere")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(f"{_INDEX} of {name} is malformed: {error!r:.200}") from None
    return entries


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts
