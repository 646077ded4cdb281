"""SHA-256 of files while they are being written, on a thread of its own for each: who writes never waits for it, and
what it reads is still in the page cache."""

import hashlib
import os
import threading
from pathlib import Path

from tagship.system.files import DIGESTED

# What is digested at a time: to wake the thread for each part, of which a merge writes a thousand a second, would take
# the interpreter from those who write.
_AT_ONCE = 8 << 20


class GrowingDigest:
    """The SHA-256 of a file whose parts are written in any order, each once.

    Its beginning is digested as far as all of it is there, some MB at a time; what comes after a gap when the gap is
    filled, or when all is there.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)  # it is this file also when it has another name
        self._sha256 = hashlib.sha256()
        self._changed = threading.Condition()
        # Offsets in the file: up to where it was digested, up to where it may be, and parts beyond that by their start.
        self._done, self._there = 0, 0
        self._parts: dict[int, int] = {}
        self._whole = self._given_up = self._ended = False
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def wrote(self, at: int, length: int) -> None:
        """So many bytes at an offset are there, and will not change any more."""
        if not length:
            return
        with self._changed:
            self._parts[at] = at + length
            while self._there in self._parts:
                self._there = self._parts.pop(self._there)
            if self._there - self._done >= _AT_ONCE:
                self._changed.notify_all()

    def complete(self, size: int) -> None:
        """All of the file is there, so many bytes."""
        with self._changed:
            self._there, self._whole = size, True
            self._changed.notify_all()

    def wait(self, most: int) -> None:
        """Wait until at most so many bytes that are there were not digested, or too few to begin with."""
        with self._changed:
            self._changed.wait_for(lambda: self._there - self._done < max(most, _AT_ONCE) or self._ended)

    def hexdigest(self) -> str | None:
        """The SHA-256 of a complete file, in hexadecimal, waited for; None where it could not be read."""
        self._thread.join()
        return self._sha256.hexdigest() if self._whole and self._done == self._there else None

    def give_up(self) -> None:
        """End the thread; a file that was not complete has no digest."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        block = memoryview(bytearray(DIGESTED))
        try:
            while (end := self._next()) > (done := self._done):
                while done < end:
                    read = os.preadv(self._descriptor, [block[: end - done]], done)
                    if not read:
                        return  # it was cut off
                    self._sha256.update(block[:read])
                    done += read
                with self._changed:
                    self._done = done
                    self._changed.notify_all()
        except OSError:
            return  # there is no digest, and whoever wants one reads the file and is told
        finally:
            os.close(self._descriptor)
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _next(self) -> int:
        """Up to where it can be read now, where that is worth while; up to where it was read at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._there - self._done >= _AT_ONCE or self._whole or self._given_up)
            return self._done if self._given_up else min(self._there, self._done + _AT_ONCE)
