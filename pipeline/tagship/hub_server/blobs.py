"""A content-addressed store for LFS files, and the pointer that git holds in their place."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from tagship.hub_server.durable import place

BLOCK_BYTES = 1 << 20

Blocks = Generator[bytes, None, None]
"""The bytes of a file in order, some at a time; `close()` ends the reading."""

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, without extensions.
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,19})\n")
MAX_POINTER_BYTES = 200

_ABANDONED_SECONDS = 24 * 3600

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Pointer(Struct, frozen=True, kw_only=True):
    """An LFS file as git sees it: the SHA-256 (hex) and size in bytes of the real file."""

    sha256: str
    size: int

    @classmethod
    def parse(cls, text: bytes) -> "Pointer | None":
        """The pointer that `text` is, or None if it is an ordinary file."""
        match = _POINTER.fullmatch(text)
        return cls(sha256=match[1].decode(), size=int(match[2])) if match else None

    def text(self) -> bytes:
        """The pointer file."""
        return (f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n").encode()


def sweep(scratch: Path) -> None:
    """Remove what a server that was killed left in its folder for unfinished work, a day ago or more."""
    for path in scratch.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime > time.time() - _ABANDONED_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def fresh_file(folder: Path) -> Iterator[Path]:
    """An empty file under `folder` that is gone afterwards, unless it was renamed away."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, scratch: Path) -> None:
    """Write `path` so that nobody ever sees half of it; `scratch` is a folder on the same disk."""
    with fresh_file(scratch) as fresh:
        fresh.write_bytes(data)
        place(fresh, path)


class BlobStore(Struct, frozen=True, kw_only=True):
    """Files by the SHA-256 of their bytes, under `folder`."""

    folder: Path

    def path(self, sha256: str) -> Path:
        """Where the file with this SHA-256 (64 lower-case hex digits) is or would be."""
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"not a sha256: {sha256!r}")
        return self.folder / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """The size in bytes of a stored file, None if it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def adopt(self, uploaded: Path, *, sha256: str) -> None:
        """Move a finished file, whose SHA-256 the caller has computed, into the store."""
        place(uploaded, self.path(sha256))


def read_blocks(path: Path, start: int, end: int) -> Blocks:
    """The bytes `start` to `end` (exclusive) of a file, a block at a time."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (block := file.read(min(BLOCK_BYTES, end - start))):
            start += len(block)
            yield block
