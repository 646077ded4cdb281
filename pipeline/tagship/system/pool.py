"""Work on all cores, of which only a little is ahead of what is wanted next."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

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
