"""How long a Hub is waited for, and how often it is asked again (hub/http_client.py does it).

A server that is silent, drops a connection or has trouble (408, 429, 5xx) is asked again, with the time in between that
it asks for or that doubles; what it refuses (401, 403, 404, 409, 412, 422, …) is never asked twice. It is given up
within a minute where nobody answers, and after five minutes where it says to wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Patience(Struct, frozen=True, kw_only=True):
    """In seconds: for a connection, for each answer to what only reads and to what changes something, until when after
    the first attempt another one is begun, and for all the waiting that a server asks for."""

    connect: float = 10
    read: float = 15
    write: float = 25
    again: float = 30
    asked: float = 300
    attempts: int = 5


PATIENT = Patience()
# Seconds for the answers to what is only asked in addition: what they are asked for goes on without them.
ASIDE = 5.0
_now: ContextVar[Patience] = ContextVar("patience", default=PATIENT)


@contextmanager
def impatient(seconds: float) -> Iterator[None]:
    """Within the block a Hub gets this long for each answer, and is not asked again: for what only adds to an output.
    It holds in this thread, and in those that get `current()` by `set_current`."""
    token = _now.set(Patience(connect=seconds, read=seconds, write=seconds, again=0, asked=0, attempts=1))
    try:
        yield
    finally:
        _now.reset(token)


def current() -> Patience:
    """What holds in this thread."""
    return _now.get()


def set_current(patience: Patience) -> None:
    """Have it hold in this thread, too: what a pool's `initializer` is given."""
    _now.set(patience)


def impatiently(seconds: float, ask: Callable[[], T]) -> T:
    """What a function returns that asks a Hub once, for no longer than this."""
    with impatient(seconds):
        return ask()
