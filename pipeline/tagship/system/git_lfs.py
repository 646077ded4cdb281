"""Pointers of git LFS: what a clone has instead of a file that was not fetched (git-lfs, docs/spec.md)."""

from pathlib import Path

from tagship.system.errors import ReleaseError

_BEGIN = b"version https://git-lfs.github.com/spec/"
# Enough of a file to know a pointer by.
POINTER_BYTES = len(_BEGIN)


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer."""
    with path.open("rb") as file:
        return file.read(POINTER_BYTES) == _BEGIN


def refuse_pointer(path: Path, start: bytes) -> None:
    """Raise ReleaseError when a file that begins so is a pointer."""
    if start.startswith(_BEGIN):
        raise ReleaseError(
            f"{path} is a pointer of git LFS, and not the file itself",
            remedy="fetch what it points to: git lfs pull (in CI, check out with LFS)",
        )
