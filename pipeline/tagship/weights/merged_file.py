"""A file of merged weights while it is being written."""

import errno
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tagship.system.digesting import GrowingDigest
from tagship.system.files import new_file, set_aside
from tagship.weights.layout import Shard
from tagship.weights.merge import Output
from tagship.weights.sources import Source, Sources


class MergedFile:
    """A file that is being written; it has its name, `target`, when all of its tensors are in it."""

    def __init__(self, shard: Shard, target: Path) -> None:
        self.target = target
        self._shard = shard
        self._missing = len(shard.tensors)
        self._descriptor = -1
        self._digest: GrowingDigest | None = None
        self._made = ExitStack()
        # Writers of one file wait for each other in the kernel, and burn a core while they do.
        self._one_writer = threading.Lock()

    def open(self, sources: Sources) -> None:
        """Make the file, if it is not yet there."""
        if self._descriptor >= 0:
            return
        partial = self._made.enter_context(new_file(self.target))
        self._descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._made.callback(os.close, self._descriptor)
        for output, places in self._shard.tensors:
            if output.copied:  # what is shared needs no room
                entry = output.source.entry
                sources.of(output).share(self._descriptor, entry.start, entry.nbytes, places[0])
        set_aside(self._descriptor, self._shard.size)
        self._digest = GrowingDigest(partial)
        self.write(memoryview(self._shard.header), 0)
        self.wrote(0, len(self._shard.header))

    def write(self, data: memoryview, at: int) -> None:
        """Write bytes at an offset. Who does calls `wrote` of them, together with others or alone."""
        with self._one_writer:
            written = os.pwrite(self._descriptor, data, at)
        if written != data.nbytes:
            raise OSError(errno.ENOSPC, f"only a part of {self.target.name} could be written")

    def copy(self, source: Source, start: int, length: int, at: int, output: Output) -> None:
        """Copy bytes of a tensor's file to an offset."""
        with self._one_writer:
            source.copy(self._descriptor, start, length, at, output)
        self.wrote(at, length)

    def wrote(self, at: int, length: int) -> None:
        """So many bytes at an offset are there, and can be digested."""
        if self._digest:
            self._digest.wrote(at, length)

    def complete_one(self) -> None:
        """Count a tensor; with the last one the file gets its name."""
        self._missing -= 1
        if not self._missing:
            if self._digest:
                self._digest.complete(self._shard.size)
            self._made.close()

    def wait(self, most: int) -> None:
        """Wait until at most so many bytes of it were written and not digested."""
        if self._digest:
            self._digest.wait(most)

    def hexdigest(self) -> str | None:
        """The SHA-256 of the whole file, in hexadecimal; None where there is none."""
        return self._digest.hexdigest() if self._digest else None

    def give_up(self, *why: Any) -> None:
        """Remove the file, if it is not whole."""
        if self._digest:
            self._digest.give_up()
        self._made.__exit__(*why)
