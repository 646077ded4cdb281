"""Reproducible .tar.gz archives: the same files give the same bytes, whoever packs them.

The manifest comes first, then names are sorted; owner, mode and time are fixed; nothing of this machine is in it.
ISA-L chooses its code by the processor: the uncompressed tar is the same everywhere, the compressed bytes on
processors of one kind. The checksum is taken in the same pass.
"""

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from isal import isal_zlib
from msgspec import Struct

from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, parse_manifest
from tagship.system.errors import ReleaseError
from tagship.system.files import files_below, locked, new_file, write_text
from tagship.system.pool import in_order
from tagship.system.progress import Advance, silent

SUMS_FILE = "SHA256SUMS"
# Level 1 of ISA-L: 230 MB/s with a better ratio on weights than gzip's default at 10 MB/s.
_LEVEL = 1
# Blocks of this size are compressed on their own: the bytes do not depend on the number of threads.
_BLOCK = 1 << 20
# How far back deflate refers (RFC 1951).
_WINDOW = 1 << 15
# Neither name nor time, from no particular system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Archive(Struct, frozen=True, kw_only=True):
    """A written archive: its path, its size in bytes, its SHA-256 in hexadecimal."""

    path: Path
    size: int
    sha256: str


def write_archive(
    folder: Path,
    target: Path,
    moment: datetime,
    advance: Advance = silent,
    *,
    digests: Mapping[str, str] | None = None,
) -> Archive:
    """Pack a folder, its files below one top folder named as it is; `moment` is their time.

    `advance` counts bytes of the files. `digests` are the SHA-256 of files by their paths below the folder: those that
    are packed have to be these. The archive appears under its name when it is whole. Raises ReleaseError when a file
    cannot be read or is another, or the archive not be written, by this process or since another one does; then one
    that was there before is left as it was.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with new_file(target, wait=False) as partial, partial.open("wb") as file:
            for part in _gzip(_tar(_Packing(folder, int(moment.timestamp()), advance, digests or {}))):
                digest.update(part)
                size += file.write(part)
    except OSError as error:
        raise ReleaseError(f"{folder} could not be packed into {target}: {error}") from error
    return Archive(path=target, size=size, sha256=digest.hexdigest())


def manifest_in(archive: Path) -> Manifest | None:
    """What an archive says that it is; None where there is none, it is damaged, or it says nothing that is read."""
    from isal import igzip

    try:
        with igzip.open(archive, "rb") as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                _, _, name = member.name.partition("/")
                if name == MANIFEST_FILE and (file := tar.extractfile(member)):
                    return parse_manifest(file.read(), f"{MANIFEST_FILE} in {archive}")
    except (OSError, EOFError, tarfile.TarError, zlib.error, ReleaseError):  # it will be made anew
        return None
    return None


def record_checksum(archive: Archive) -> Path:
    """Put an archive's line into the SHA256SUMS beside it, for `sha256sum --check`.

    Lines of archives that are gone are dropped. Returns the path of SHA256SUMS.
    """
    folder = archive.path.parent
    with locked(folder):  # several processes may pack at a time
        sums = {name: digest for name, digest in read_checksums(folder).items() if (folder / name).is_file()}
        return write_checksums(folder, sums | {archive.path.name: archive.sha256})


def drop_checksum(archive: Path) -> None:
    """Take the line of an archive that is gone out of the SHA256SUMS beside it."""
    with locked(archive.parent):
        sums = read_checksums(archive.parent)
        if sums.pop(archive.name, None) is not None:
            write_checksums(archive.parent, sums)


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each archive by its name, as the folder's SHA256SUMS says; empty without one."""
    path = folder / SUMS_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    # A line is the digest, a space, a space or an asterisk, and the name.
    return {name[1:]: digest for digest, _, name in (line.partition(" ") for line in lines)}


def write_checksums(folder: Path, sums: Mapping[str, str]) -> Path:
    """Write a folder's SHA256SUMS, in the order of the names. Returns its path."""
    path = folder / SUMS_FILE
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
    return path


class _Packing(Struct, frozen=True):
    folder: Path
    moment: int
    advance: Advance
    digests: Mapping[str, str]


def _tar(packing: _Packing) -> Iterator[bytes]:
    """The pieces of a tar (POSIX.1-2001, pax), in order."""
    size = 0
    for piece in _members(packing):
        size += len(piece)
        yield piece
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)


def _members(packing: _Packing) -> Iterator[bytes]:
    folder = packing.folder
    below = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    # So that what an archive is can be told from its first bytes.
    there = {name: below[name] for name in sorted(below, key=lambda name: (name != MANIFEST_FILE, name))}
    if missing := sorted(packing.digests.keys() - there.keys()):
        raise ReleaseError(f"{folder} is not what was exported: {missing[0]} is missing", remedy="export it again")
    yield _header(folder.name, 0, packing.moment, tarfile.DIRTYPE)
    for name, path in there.items():
        size = path.stat().st_size
        yield _header(f"{folder.name}/{name}", size, packing.moment, tarfile.REGTYPE)
        yield from _contents(path, size, packing.digests.get(name), packing.advance)
        yield bytes(-size % tarfile.BLOCKSIZE)


def _contents(path: Path, size: int, expected: str | None, advance: Advance) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size:
            if not (data := file.read(min(size, _BLOCK))):
                raise ReleaseError(f"{path} became shorter while it was packed", remedy="run the same command again")
            yield data
            if expected:
                digest.update(data)
            advance(len(data))
            size -= len(data)
    if expected and digest.hexdigest() != expected:
        raise ReleaseError(
            f"{path} was changed since it was exported: its SHA-256 is {digest.hexdigest()}, and was {expected}",
            remedy="export it again: files that were changed are made anew; if nobody changed it, look after the disk",
        )


def _header(name: str, size: int, moment: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    member.type = kind
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    member.mtime = moment
    return member.tobuf(tarfile.PAX_FORMAT)


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a gzip file (RFC 1952) of one member, whose blocks are compressed on all cores."""
    checksum, size = 0, 0
    yield _GZIP_HEADER
    for compressed, of_block, length in in_order(_compressed, _with_windows(_blocks(pieces))):
        checksum = isal_zlib.crc32_combine(checksum, of_block, length)
        size += length
        yield compressed
    yield isal_zlib.compress(b"", wbits=-isal_zlib.MAX_WBITS)  # the block that ends a stream
    yield struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _compressed(block: tuple[bytes, bytes]) -> tuple[bytes, int, int]:
    """A block, compressed after a window of what was before it, its CRC-32, and its length.

    Each has a compressor of its own: what one block leaves behind cannot get into another.
    """
    data, window = block
    compressor = isal_zlib.compressobj(level=_LEVEL, wbits=-isal_zlib.MAX_WBITS, zdict=window)
    # The flush ends it at a byte, so that the next one can follow.
    compressed = compressor.compress(data) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)
    return compressed, isal_zlib.crc32(data), len(data)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of one size, the last one shorter; each is copied once."""
    parts: list[memoryview] = []
    size = 0
    for piece in pieces:
        left = memoryview(piece)
        while len(left) >= _BLOCK - size:
            yield b"".join((*parts, left[: _BLOCK - size]))
            left = left[_BLOCK - size :]
            parts, size = [], 0
        parts.append(left)
        size += len(left)
    if size:
        yield b"".join(parts)


def _with_windows(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each block with the end of the one before it, which it may refer to."""
    window = b""
    for block in blocks:
        yield block, window
        window = block[-_WINDOW:]
