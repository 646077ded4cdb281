"""Disks that take nothing more: full, over a quota, read-only, somebody else's."""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tagship.system.errors import ReleaseError

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "it may not be read or written",
    errno.EPERM: "it may not be read or written",
    errno.ENOTDIR: "a part of it is no folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its links lead in a circle",
}


def why(error: OSError) -> str | None:
    """What is wrong with the disk, in words; None where it is something else."""
    return _WHY.get(error.errno or 0)


def told(error: OSError) -> ReleaseError | None:
    """The error as a message that says what mends it; None where it is none of a disk's."""
    if error.errno == errno.EISDIR:
        return ReleaseError(f"{_name(error)} is a folder, where a file is expected", remedy="remove or rename it")
    reason = why(error)
    if reason is None:
        return None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "written" if full or error.errno == errno.EROFS else "used"
    mend = "free some room" if full else "mend its rights, or those of its folder"
    return ReleaseError(
        f"{_name(error)} could not be {what}: {reason}",
        remedy=f"{mend}; the same command goes on where this one stopped",
    )


def _name(error: OSError) -> str:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else "a file"


def check_writable(folders: Iterable[Path]) -> None:
    """Raise ReleaseError for a folder, or what it will be made in, that cannot be written to: by a file without a name,
    which leaves nothing."""
    for folder in folders:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing) as probe:
                probe.write(b"x")
                probe.flush()
        except OSError as error:
            reason = why(error) or str(error.strerror or error)
            raise ReleaseError(
                f"{existing} cannot be written to, where {folder} will be: {reason}",
                remedy="mend that, or point [project] exports and artifacts, or HF_HOME, elsewhere",
            ) from None
