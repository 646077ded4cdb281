"""One lock for the whole folder: requests that change something share it, cleaning up and copying have it alone.

It is `flock` on a file, so that `flock <folder>/lock cp -a <folder> <copy>` copies while nothing changes, and a process
that is killed lets go of it.
"""

import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from msgspec import Struct

from tagship.hub_server.problem import HubProblem

FILE = "lock"
# A copy takes minutes; whoever waits for longer than this is told to come back.
_WAIT_SECONDS = 60
_AGAIN_SECONDS = 0.02


class StoreLock(Struct, frozen=True):
    """The lock of one folder."""

    folder: Path

    def _open(self) -> int:
        return os.open(self.folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no request changes anything, and let none begin."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """For a request that changes something; it takes no thread to wait. Raises HubProblem (503) after a minute."""
        descriptor = self._open()
        try:
            deadline = time.monotonic() + _WAIT_SECONDS
            while not _shared(descriptor):
                if time.monotonic() > deadline:
                    busy = "The Hub is being copied or cleaned up. Please try again later."
                    raise HubProblem(503, busy, headers={"Retry-After": str(_WAIT_SECONDS)})
                await anyio.sleep(_AGAIN_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
