"""The server side of Xet storage: xorbs, shards, and how a file is put together from them.

The formats are those of https://huggingface.co/docs/xet (shard.md, xorb.md, api.md). A client
uploads xorbs (sequences of compressed chunks), then a shard that says which chunks make up which
file and what that file's SHA-256 is; the latter is how a commit, which knows files by their
SHA-256, finds them again.
"""

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from msgspec import Struct

from tagship.hub_server.blobs import write_whole
from tagship.hub_server.claims import claim
from tagship.hub_server.durable import place
from tagship.hub_server.problem import HubProblem

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHARD_TAG = b"HFRepoMetaData\0UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9"
_SHARD_HEADER_BYTES = 48
_ENTRY = struct.Struct("<32sIIII")  # headers, segments and extensions all are 48-byte records
_WITH_VERIFICATION = 1 << 31
_WITH_SHA256 = 1 << 30
_BOOKEND = b"\xff" * 32
_CHUNK_HEADER_BYTES = 8
_GENERATION = "generation"
# A table has 8,192 chunks at the most, and 1.5 MB then.
_TABLES = 16


class XetError(HubProblem):
    """What was uploaded is not what the format says, or refers to something that is not here."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class Segment(Struct, frozen=True):
    """The chunks `first` to `last` (exclusive) of one xorb: `length` bytes of a file."""

    xorb: str
    length: int
    first: int
    last: int


class FileRecord(Struct, frozen=True, kw_only=True):
    """One file of a shard; `raw` are its records as uploaded, `sha256` is None if the client kept it."""

    xet_hash: str
    sha256: str | None
    segments: tuple[Segment, ...]
    raw: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(segment.length for segment in self.segments)


class Chunk(Struct, frozen=True):
    """One chunk of a xorb: its bytes `start` to `end` hold `length` bytes of data, compressed."""

    start: int
    end: int
    length: int


def hex_hash(raw: bytes) -> str:
    """Xet's own way to print 32 bytes: four little-endian 64-bit words (api.md)."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def parse_file_records(data: bytes, position: int = 0) -> Iterator[FileRecord]:
    """The file section of a shard, starting at `position`. Raises XetError if it is malformed."""
    try:
        while position < len(data):
            start = position
            raw_hash, flags, count, _, _ = _ENTRY.unpack_from(data, position)
            if raw_hash == _BOOKEND:
                return
            position += _ENTRY.size
            segments = []
            for _ in range(count):
                xorb, _, length, first, last = _ENTRY.unpack_from(data, position)
                segments.append(Segment(hex_hash(xorb), length, first, last))
                position += _ENTRY.size
            if flags & _WITH_VERIFICATION:
                position += count * _ENTRY.size
            sha256 = None
            if flags & _WITH_SHA256:
                sha256 = hex_hash(_ENTRY.unpack_from(data, position)[0])
                position += _ENTRY.size
            yield FileRecord(
                xet_hash=hex_hash(raw_hash),
                sha256=sha256,
                segments=tuple(segments),
                raw=data[start:position],
            )
    except struct.error as error:
        raise XetError("the shard ends in the middle of a file") from error


def parse_shard(data: bytes) -> tuple[FileRecord, ...]:
    """The files that an uploaded shard describes. Raises XetError if it is no shard."""
    if data[:32] != _SHARD_TAG:
        raise XetError("not a shard")
    return tuple(parse_file_records(data, _SHARD_HEADER_BYTES))


@lru_cache(_TABLES)
def chunk_table(xorb: Path) -> tuple[Chunk, ...]:
    """Where each chunk of a xorb is, from the headers between them. Raises XetError.

    A xorb never changes, and a file refers to few of them again and again.
    """
    chunks, position, size = [], 0, xorb.stat().st_size
    with xorb.open("rb") as file:
        while position + _CHUNK_HEADER_BYTES <= size:
            file.seek(position)
            header = file.read(_CHUNK_HEADER_BYTES)
            if header[0] != 0:  # version 0 is the only one; a footer begins with a letter
                break
            end = position + _CHUNK_HEADER_BYTES + int.from_bytes(header[1:4], "little")
            if end > size:
                raise XetError("the xorb ends in the middle of a chunk")
            chunks.append(Chunk(position, end, int.from_bytes(header[5:8], "little")))
            position = end
    if not chunks:
        raise XetError("not a xorb")
    return tuple(chunks)


class XetStore(Struct, frozen=True, kw_only=True):
    """Xorbs, file records and their SHA-256s under `folder`; `scratch` is on the same disk.

    Every name is a hash and every file is written whole before it gets its name, so any number of
    servers may share the folder. A client's claim that its bytes have a certain SHA-256 is checked
    when the Hub reads the whole file (see content.py).
    """

    folder: Path
    scratch: Path

    def _path(self, kind: str, name: str) -> Path:
        if not _HASH.fullmatch(name):
            raise XetError(f"not a hash: {name!r}")
        return self.folder / kind / name[:2] / name

    def xorb(self, xorb_hash: str) -> Path:
        """Where that xorb is or would be. Raises XetError if it is no hash."""
        return self._path("xorbs", xorb_hash)

    def add_xorb(self, xorb_hash: str, uploaded: Path) -> bool:
        """Take an uploaded xorb; False if it was here already. Raises XetError if it is malformed."""
        path = self.xorb(xorb_hash)
        if path.exists():
            claim(path)
            return False
        chunk_table.__wrapped__(uploaded)  # by a name that another upload may have
        place(uploaded, path)
        return True

    def add_shard(self, data: bytes) -> None:
        """Make the files of a shard known. Raises XetError, and adds nothing, if chunks are missing."""
        records = parse_shard(data)
        segments = [segment for record in records for segment in record.segments]
        by_xorb: dict[str, list[Segment]] = {}
        for segment in segments:
            by_xorb.setdefault(segment.xorb, []).append(segment)
        for xorb, parts in by_xorb.items():
            path = self.xorb(xorb)
            if not path.exists():
                raise XetError(f"the shard refers to a xorb that was never uploaded: {xorb}")
            claim(path)
            before = [0, *accumulate(chunk.length for chunk in chunk_table(path))]
            for segment in parts:
                if not segment.first < segment.last < len(before) or (
                    before[segment.last] - before[segment.first] != segment.length
                ):
                    raise XetError(f"the shard and the xorb {xorb} disagree about the chunks in it")
        for record in records:
            write_whole(self._path("files", record.xet_hash), record.raw, scratch=self.scratch)
            if record.sha256:
                link = f"{record.xet_hash} {record.size}\n".encode()
                write_whole(self._path("sha256", record.sha256), link, scratch=self.scratch)

    def by_sha256(self, sha256: str) -> tuple[str, int] | None:
        """The Xet hash and size of the file with this SHA-256, None if it never came through Xet."""
        try:
            xet_hash, size = self._path("sha256", sha256).read_text().split()
        except FileNotFoundError:
            return None
        return xet_hash, int(size)

    def record(self, xet_hash: str) -> FileRecord | None:
        """How a file is put together, None if it is unknown."""
        try:
            raw = self._path("files", xet_hash).read_bytes()
        except FileNotFoundError:
            return None
        return next(parse_file_records(raw))

    def parts(self, sha256: str) -> Iterator[Path]:
        """The files that make up the one with this SHA-256; none if it never came through Xet."""
        known = self.by_sha256(sha256)
        record = self.record(known[0]) if known else None
        if known and record:
            yield self._path("sha256", sha256)
            yield self._path("files", known[0])
            yield from {self.xorb(segment.xorb) for segment in record.segments}

    @property
    def generation(self) -> int:
        """How often xorbs were removed."""
        try:
            return int((self.folder / _GENERATION).read_text())
        except FileNotFoundError:
            return 0

    def change_address(self) -> None:
        """Be another Hub to clients, which remember what they have uploaded: before xorbs are removed."""
        write_whole(self.folder / _GENERATION, b"%d" % (self.generation + 1), scratch=self.scratch)
