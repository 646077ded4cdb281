"""The files that a merge reads, which have to stay what they were when their headers were read."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tagship.system.errors import ReleaseError
from tagship.system.files import EndedEarly, copy_range, share_range
from tagship.weights.merge import Output
from tagship.weights.safetensors import Header, stamp_of


class Source:
    """An open file of tensors. Raises ReleaseError, with a tensor's name, when it is not the file any more
    whose header was read."""

    def __init__(self, header: Header, descriptor: int) -> None:
        self.descriptor = descriptor
        self._header = header

    def read(self, into: memoryview, at: int, output: Output) -> None:
        """Fill `into` with the bytes at an offset of the file."""
        if os.preadv(self.descriptor, [into], at) != into.nbytes:
            raise _cut_off(output)
        self._check(output)

    def copy(self, target: int, start: int, length: int, at: int, output: Output) -> None:
        """Copy bytes into another open file, inside the kernel where it can do that."""
        try:
            copy_range(self.descriptor, target, start, length, at)
        except EndedEarly:
            raise _cut_off(output) from None
        self._check(output)

    def share(self, target: int, start: int, length: int, at: int) -> None:
        """Have another open file share the blocks of a range, where the file system can do that; `copy` is still
        needed, and takes no time for them."""
        share_range(self.descriptor, target, start, length, at)

    def _check(self, output: Output) -> None:
        now = os.fstat(self.descriptor)
        if stamp_of(now) != self._header.stamp:
            raise _cut_off(output) if now.st_size < self._header.size else _changed(output)


class Sources:
    """Each file opened once, and closed at the end."""

    def __init__(self) -> None:
        self._opened: dict[Path, Source] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._opened.values():
            os.close(source.descriptor)

    def of(self, output: Output) -> Source:
        """The file that a tensor is read from. Raises ReleaseError when it is gone, or another one."""
        header = output.source.file
        if header.path not in self._opened:
            try:
                self._opened[header.path] = Source(header, os.open(header.path, os.O_RDONLY))
            except FileNotFoundError:
                raise ReleaseError(f"{header.path} is gone, and {output.name} was to be read from it") from None
        return self._opened[header.path]


def _cut_off(output: Output) -> ReleaseError:
    return _again(output, "ended")


def _changed(output: Output) -> ReleaseError:
    return _again(output, "was changed")


def _again(output: Output, what: str) -> ReleaseError:
    whose, remedy = ("adapter", "save") if output.replaced else ("base", "fetch")
    return ReleaseError(f"the {whose} {what} while {output.name} was read", remedy=f"{remedy} the {whose} again, whole")
