"""Disks that take nothing more."""

import errno
from pathlib import Path

import pytest
from tagship.system.disk import check_writable, told
from tagship.system.errors import ReleaseError


def test_folders_that_can_be_written(tmp_path: Path) -> None:
    """A folder may be yet to be made; looking leaves nothing."""
    check_writable([tmp_path, tmp_path / "deep" / "down"])
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """What cannot be written to is told with the folder that it was for."""
    (tmp_path / "dist").write_text("a file")
    with pytest.raises(
        ReleaseError, match=r"dist cannot be written to, where .*dist/x will be: a part of it is no folder"
    ):
        check_writable([tmp_path / "dist" / "x"])
    with pytest.raises(ReleaseError, match="/proc cannot be written to"):
        check_writable([Path("/proc/tagship-dist")])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.ELOOP, "circle"),
    ],
)
def test_what_is_told(number: int, words: str) -> None:
    """A disk that takes nothing more is a message; other errors of the system are not."""
    error = told(OSError(number, "x", "/dist/a"))
    assert error is not None and words in str(error) and "/dist/a" in str(error)
    assert "same command goes on" in str(error.remedy)
    folder = told(IsADirectoryError(errno.EISDIR, "x", "/runs/a.json"))
    assert folder is not None and str(folder) == "/runs/a.json is a folder, where a file is expected"
    assert told(OSError(errno.EBADF, "x")) is None
