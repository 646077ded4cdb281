"""Work on all cores, of which only a little is ahead of what is wanted next."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from tagship.system.progress import Advance

T = TypeVar("T")
R = TypeVar("R")

# Each worker has memory of its own, and no disk keeps up with more.
_MOST_WORKERS = 32


def cores() -> int:
    """The processor cores that this process may use: a container or a scheduler may leave it a few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of the items, which are taken as they are needed; what fails ends the rest."""
    workers = min(cores(), _MOST_WORKERS)
    ahead: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)  # one more took longer, also with files that had to come from the disk
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Unwanted(Exception):
    """Work whose result nobody waits for any more."""


class Beside:
    """A thread that does work, piece by piece, while the block runs. Where the block ends before it, it ends the next
    time that it counts its progress."""

    def __init__(self) -> None:
        self._unwanted = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        self._unwanted.set()
        self._thread.shutdown(cancel_futures=True)

    def begin(self, work: Callable[[Advance], R]) -> Callable[[], R]:
        """Have a piece done after those before. Returns what waits for its result, or raises what it raised."""
        return self._thread.submit(work, self._advance).result

    def _advance(self, _: int) -> None:
        if self._unwanted.is_set():
            raise _Unwanted


@contextmanager
def beside(work: Callable[[Advance], R]) -> Iterator[Callable[[], R]]:
    """Have one piece of work done beside the block, which waits for its result by a call."""
    with Beside() as thread:
        yield thread.begin(work)


def in_turns(streams: Iterable[Iterator[T]], most: int) -> Iterator[T]:
    """An item of each stream in turn, of so many streams at a time; the next one begins where one has ended."""
    waiting = iter(streams)
    active = deque(islice(waiting, most))
    while active:
        stream = active.popleft()
        for item in stream:
            yield item
            active.append(stream)
            break
        else:
            active.extend(islice(waiting, 1))
