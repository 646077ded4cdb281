"""What reading a header of weights takes."""

from typing import Protocol


class BadHeader(Exception):
    """The file does not begin as its format says."""


class Bytes(Protocol):
    """A file that is read from its beginning."""

    size: int

    def take(self, size: int) -> bytes:
        """The first `size` bytes, fewer if there are no more."""
