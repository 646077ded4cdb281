"""The bytes of a large file, wherever they are: in the blob store or spread over xorbs."""

import hashlib
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from tagship.hub_server.blobs import SHA256, BlobStore, Blocks, read_blocks
from tagship.hub_server.claims import claim, settle
from tagship.hub_server.xet import XetStore

# hf_xet reads ahead as far as it is allowed to, a gigabyte and more; a slice bounds that. With 16 MiB the server has
# 180 MB, with 4 MiB 90.
_SLICE_BYTES = 4 << 20


class LargeFile(Struct, frozen=True, kw_only=True):
    """A large file that the Hub has; `xet_hash` is None if it came through plain LFS only."""

    sha256: str
    size: int
    xet_hash: str | None


class XetReader:
    """Puts Xet files together again by hf_xet, the client's own library, so that nobody else
    has to know how chunks are compressed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def blocks(self, file: LargeFile, start: int, end: int, *, cas_url: str, token: tuple[str, int]) -> Blocks:
        """The bytes `start` to `end` (exclusive) of `file`, read through the CAS API at `cas_url`."""
        import hf_xet  # type: ignore[import-untyped]

        with self._lock:
            self._session = self._session or hf_xet.XetSession()
        grant, expiry = token
        group = self._session.new_download_stream_group(endpoint=cas_url, token=grant, token_expiry_unix_secs=expiry)
        info = hf_xet.XetFileInfo(file.xet_hash, file.size)
        for first in range(start, end, _SLICE_BYTES):
            stream = group.download_stream(info, start=first, end=min(first + _SLICE_BYTES, end))
            try:
                yield from stream
            finally:
                stream.cancel()


def verified(blocks: Blocks, sha256: str) -> Blocks:
    """The same blocks, the last of them only if all together have this SHA-256.

    Raises OSError otherwise, which breaks the connection off: the reader gets a short file, never a
    wrong one that looks complete.
    """
    digest, held = hashlib.sha256(), b""
    with closing(blocks):
        for block in blocks:
            digest.update(block)
            if held:
                yield held
            held = block
    if digest.hexdigest() != sha256:
        raise OSError(f"the Xet file that was uploaded as {sha256} has another sha256: {digest.hexdigest()}")
    yield held


class LargeFiles(Struct, frozen=True, kw_only=True):
    """Every large file of the Hub, by its SHA-256."""

    blobs: BlobStore
    xet: XetStore
    reader: XetReader = field(default_factory=XetReader)

    def find(self, sha256: str) -> LargeFile | None:
        """The file with this SHA-256 (hex), None if it was never uploaded."""
        if not SHA256.fullmatch(sha256):
            return None
        size, known = self.blobs.size(sha256), self.xet.by_sha256(sha256)
        if known:
            return LargeFile(sha256=sha256, size=known[1], xet_hash=known[0])
        return None if size is None else LargeFile(sha256=sha256, size=size, xet_hash=None)

    def _parts(self, sha256: str) -> list[Path]:
        blob = self.blobs.path(sha256)
        return [*([blob] if blob.exists() else []), *self.xet.parts(sha256)]

    def claim(self, file: LargeFile) -> None:
        """Keep a file that a client was told it need not upload (claims.py)."""
        for path in self._parts(file.sha256):
            claim(path)

    def settle(self, sha256s: Iterable[str]) -> None:
        """Note that a commit has these files (claims.py)."""
        for sha256 in sha256s:
            for path in self._parts(sha256):
                settle(path)

    def read(self, file: LargeFile, start: int, end: int, *, cas_url: str, token: tuple[str, int]) -> Blocks:
        """The bytes `start` to `end` (exclusive); a whole file that came by Xet is verified on the way.

        Nothing is copied to disk and memory stays constant, whatever the size.
        """
        if self.blobs.size(file.sha256) is not None:
            return read_blocks(self.blobs.path(file.sha256), start, end)
        blocks = self.reader.blocks(file, start, end, cas_url=cas_url, token=token)
        return verified(blocks, file.sha256) if (start, end) == (0, file.size) else blocks


class Noted:
    """`find` of the large files, which notes what it has found."""

    def __init__(self, files: LargeFiles) -> None:
        self._files = files
        self.sha256s: set[str] = set()

    def find(self, sha256: str) -> LargeFile | None:
        """As `LargeFiles.find`."""
        found = self._files.find(sha256)
        if found:
            self.sha256s.add(sha256)
        return found
