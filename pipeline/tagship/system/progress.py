"""What long work tells of its progress: a count of bytes, to whoever shows it."""

from collections.abc import Callable

# Called with the number of bytes done since the last call.
Advance = Callable[[int], None]


def silent(_: int) -> None:
    """Progress that nobody watches."""
