"""Which stored files wait for a commit: told by their own mode and time, so that nothing else has to agree with them.

A file that was uploaded, or that a client was told is there already, is one that its owner may write; once a commit has
it, it is read-only. Its time says when either happened last.
"""

import os
from pathlib import Path

_WAITING, _COMMITTED = 0o600, 0o400
# So long a client may take between uploading a file and committing it.
WAITING_SECONDS = 24 * 3600


def claim(path: Path) -> None:
    """A client is about to commit this file."""
    os.chmod(path, _WAITING)
    os.utime(path)


def settle(path: Path) -> None:
    """A commit has this file: when no commit has it any longer, it is garbage at once."""
    os.chmod(path, _COMMITTED)
    os.utime(path)


def is_garbage(path: Path, *, since_ns: int) -> bool:
    """Whether a file that no commit has may go, for one who looked at the commits at `since_ns` (Unix time)."""
    status = path.stat()
    if status.st_mtime_ns >= since_ns:
        return False
    waiting = status.st_mode & 0o777 != _COMMITTED
    return not waiting or status.st_mtime_ns < since_ns - WAITING_SECONDS * 10**9
