"""Files that appear whole or not at all."""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tagship.system.errors import Killed, ReleaseError
from tagship.system.progress import Advance, silent

BLOCK = 4 << 20
# What is read and digested at a time: it stays in the processor's cache in between. 4 MiB take a third more time.
DIGESTED = 1 << 20
# How what is not whole yet ends: folders and files that lie among other people's, and what is inside of ours.
_OWN = ".tagship.partial"
_PARTIAL = ".partial"


@contextmanager
def new_folder(target: Path, *, resumes: str | None = None) -> Iterator[Path]:
    """A folder to fill that becomes `target` at the end, in one rename; on an error it is removed.

    With `resumes`, the name of what is made, the folder may hold what a killed or interrupted run of the
    same name left: the files in it that are whole have their own names. Without it nothing is kept, and what
    killed runs left beside it is removed first. Raises ReleaseError when another process is filling the same one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if resumes is None:
        remove_leftovers(target.parent)
    partial = target.with_name(f".{resumes or target.name}{_OWN}")
    with _filling(partial, target):
        for left in partial.glob(f".*{_PARTIAL}"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield partial
            replaced = target.with_name(f".{target.name}.replaced{_OWN}")
            if target.exists():
                target.rename(replaced)
            partial.rename(target)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException as error:
            if resumes is None or not isinstance(error, KeyboardInterrupt | Killed):
                shutil.rmtree(partial, ignore_errors=True)
            raise


def remove_leftovers(folder: Path, kept: Collection[str] = ()) -> None:
    """Remove what killed runs of tagship left in a folder, but for what is to be resumed by these names."""
    for left in folder.glob(f".*{_OWN}"):
        if left.name[1:].removesuffix(_OWN) not in kept:
            _remove_unless_locked(left)


@contextmanager
def scratch_folder(name: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder that is gone with the block, in the system's own for temporary files unless `parent` is given; where
    this process is killed, the next one that makes one of this name removes it, as `remove_leftovers` does."""
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f".{name}-*{_OWN}"):
        with suppress(OSError):  # another user's, in a folder for all
            _remove_unless_locked(left)
    with ExitStack() as lock:
        folder = _locked_scratch(parent, name, lock)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked_scratch(parent: Path, name: str, lock: ExitStack) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}-", suffix=_OWN))
        with suppress(FileNotFoundError):
            lock.enter_context(locked(folder))
            if folder.exists():  # nobody took it for a leftover before it was locked
                return folder


def size_of_leftovers(folder: Path) -> int:
    """The bytes on disk of what killed runs left in a folder, which will be used or removed."""
    left = [path for partial in folder.glob(f".*{_OWN}") for path in files_below(partial)]
    return sum(path.stat().st_blocks * 512 for path in left)


@contextmanager
def _filling(partial: Path, target: Path) -> Iterator[None]:
    """Make a folder, if it is not there, and hold its lock."""
    busy = ReleaseError(f"another process is writing {target}", remedy="wait until it has finished")
    partial.mkdir(exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(partial, wait=False))
        except (BlockingIOError, FileNotFoundError):
            raise busy from None
        if not partial.exists():  # whoever held the lock has given it its final name
            raise busy
        yield


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock; the kernel lets go of it however this process ends.

    Without `wait`, raises BlockingIOError when another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _remove_unless_locked(path: Path) -> None:
    try:
        if path.is_dir():
            with locked(path, wait=False):
                shutil.rmtree(path)
    except (BlockingIOError, FileNotFoundError):
        return  # another process is at work on it, or has just finished


@contextmanager
def new_file(target: Path, *, wait: bool = True) -> Iterator[Path]:
    """A path to write that becomes `target` at the end; on an error it is removed.

    One process at a time writes it; without `wait`, ReleaseError is raised where another one does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}{_OWN}")
    with ExitStack() as lock:
        _lock_file(partial, target, lock, wait=wait)
        try:
            yield partial
            partial.rename(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _lock_file(partial: Path, target: Path, lock: ExitStack, *, wait: bool) -> None:
    """Make an empty file whose lock this process holds: not one that had it while we waited, and was renamed."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        opened = lock.enter_context(os.fdopen(descriptor, "rb+"))
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ReleaseError(f"another process is writing {target}", remedy="wait until it has finished") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), partial.stat()):
                opened.truncate()
                return


def write_text(target: Path, text: str) -> None:
    """Write a text file, visible only when it is whole."""
    with new_file(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, document: Any) -> None:
    """Write JSON as people read it: two spaces, keys in the given order, a newline at the end."""
    write_text(target, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def set_aside(descriptor: int, size: int) -> None:
    """Give an open, empty file its length, and its room on the disk where the file system can do that: a full disk
    is then known before anything is written, and writing takes half the time. Raises OSError."""
    os.ftruncate(descriptor, size)
    # Not os.posix_fallocate: where a file system cannot do it, the C library writes to each of its blocks.
    allocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if allocate is None or not size:  # not Linux
        return
    if allocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # else it is only slower
            raise OSError(number, os.strerror(number))


# Has a range of a file share the blocks of another's (Linux, ioctl_ficlonerange(2)).
_FICLONERANGE = 0x4020940D


def share_range(source: int, target: int, start: int, length: int, at: int) -> bool:
    """Whether the whole blocks of a range are from now on those of another open file: the file system has to be able
    to do that, and the range to begin in the same place of a block in both."""
    before, whole = _whole_blocks(target, start, length, at)
    if sys.platform != "linux" or not whole:
        return False
    try:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, start + before, whole, at + before))
    except OSError:  # another file system, or one that cannot
        return False
    return True


class EndedEarly(OSError):
    """A file is shorter than it was."""


def copy_range(source: int, target: int, start: int, length: int, at: int, advance: Advance = silent) -> None:
    """Copy bytes between open files, inside the kernel (and by reference) where it can do that.

    Raises EndedEarly when the source ends before `length` bytes.
    """
    copied = 0
    while copied < length:
        # A file system that can share blocks does so only for whole ones that are asked for apart.
        before, whole = _whole_blocks(target, start + copied, length - copied, at + copied)
        wanted = min(before or whole or length - copied, 64 << 20)
        try:
            done = os.copy_file_range(source, target, wanted, start + copied, at + copied)
        except (
            OSError,
            AttributeError,
        ):  # not Linux, another file system, or none that can: EXDEV, EINVAL, ENOSYS, EOPNOTSUPP
            done = 0
        if done == 0:  # also where a kernel copies nothing from a file that it knows no length of
            done = os.pwrite(target, os.pread(source, min(wanted, BLOCK), start + copied), at + copied)
        if done == 0:
            raise EndedEarly(f"the file ended {length - copied} bytes before its header says")
        copied += done
        advance(done)


def _whole_blocks(target: int, start: int, length: int, at: int) -> tuple[int, int]:
    """How many bytes of a range come before its first whole block, and how many are in whole blocks; none where it
    does not begin in the same place of a block in both files."""
    block = os.fstatvfs(target).f_frsize
    if (start - at) % block:
        return 0, 0
    before = min(-start % block, length)
    return before, (length - before) // block * block


# Other file systems, some without links, files of other users, and more names than a file may have.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def copy_file(source: Path, target: Path, advance: Advance = silent) -> None:
    """Copy a file's bytes, and nothing else of it: not its mode, not its times."""
    with source.open("rb") as reading, target.open("wb") as writing:
        size = os.fstat(reading.fileno()).st_size
        copy_range(reading.fileno(), writing.fileno(), 0, size, 0, advance)


def link_file(source: Path, target: Path, advance: Advance = silent) -> None:
    """Give a file another name, which takes no room: of what nobody writes into. Its bytes are copied where the two are
    on different file systems, or on one without links."""
    try:
        os.link(source, target)
        advance(source.stat().st_size)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        copy_file(source, target, advance)


def sha256_of(path: Path, advance: Advance = silent) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest, block = hashlib.sha256(), memoryview(bytearray(DIGESTED))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            digest.update(block[:read])
            advance(read)
    return digest.hexdigest()


def check_is_file(path: Path) -> None:
    """Raise ReleaseError for what has a file's name and is none: reading a pipe or a device need not end."""
    if path.exists() and not path.is_file():
        raise ReleaseError(f"{path} is no file", remedy="remove or rename it")


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder and its subfolders, by its name in POSIX form."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.as_posix())
