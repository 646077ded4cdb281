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


@contextmanager
def beside(work: Callable[[Advance], R]) -> Iterator[Callable[[], R]]:
    """Have work done in a thread while the block runs, which gets its result, or what it raised, by a call. Where the
    block ends before it, it ends the next time that it counts its progress."""
    unwanted = threading.Event()

    def advance(_: int) -> None:
        if unwanted.is_set():
            raise _Unwanted

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, advance)
        try:
            yield future.result
        finally:
            unwanted.set()


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
