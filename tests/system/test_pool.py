"""Work on all cores, in order; and streams that are taken in turns."""

import os
import threading
import time
from collections.abc import Iterator

import pytest
from tagship.system.errors import ReleaseError
from tagship.system.pool import Beside, beside, cores, in_order, in_turns
from tagship.system.progress import Advance


def test_results_are_in_order() -> None:
    """What is done sooner does not come sooner."""

    def slow(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number

    assert list(in_order(slow, range(30))) == list(range(30))


def test_failure_ends_the_rest() -> None:
    """What fails is raised, and what had not begun is not done."""
    done: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        with lock:
            done.append(number)

    with pytest.raises(ValueError, match="three"):
        list(in_order(work, iter(range(10_000))))
    assert len(done) < 10_000


def test_items_are_taken_as_they_are_needed() -> None:
    """Only a little is taken ahead of what was done."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items())
    next(results)
    assert len(taken) < 1_000
    results.close()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say what may be used")
@pytest.mark.parametrize(("allowed", "workers"), [(1, 1), (3, 3), (200, 32)])
def test_workers(monkeypatch: pytest.MonkeyPatch, allowed: int, workers: int) -> None:
    """There is a worker for each core that this process may use, up to a number."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    assert cores() == allowed
    at_once = threading.Barrier(workers)

    def work(_: int) -> int:
        at_once.wait(timeout=60)
        return threading.get_ident()

    assert len(set(in_order(work, range(2 * workers)))) == workers


def test_turns() -> None:
    """One of each stream in turn; the next stream begins where one has ended."""
    streams = (iter(text) for text in ("abc", "1", "xyz", ""))
    assert "".join(in_turns(streams, 2)) == "a1bcxyz"


def test_turns_begin_streams_late() -> None:
    """A stream is not begun before one of those before it has ended."""
    begun: list[str] = []

    def stream(text: str) -> Iterator[str]:
        begun.append(text)
        yield from text

    turns = in_turns(map(stream, ("ab", "cd", "ef")), 2)
    assert [next(turns) for _ in range(4)] == ["a", "c", "b", "d"]
    assert begun == ["ab", "cd"]
    assert list(turns) == ["e", "f"]


# Beside a block


def test_work_beside_a_block() -> None:
    """The block has its result, as often as it asks, or what it raised."""
    with beside(lambda advance: threading.current_thread().name) as name:
        assert name() == name() != threading.current_thread().name

    def fails(_: object) -> None:
        raise ReleaseError("no base")

    with pytest.raises(ReleaseError, match="no base"), beside(fails) as result:
        result()


def test_pieces_of_work_beside_a_block() -> None:
    """They are done one after the other, and one that fails is no other's matter."""
    with Beside() as thread:
        begun = [thread.begin(lambda _, number=number: 6 // number) for number in (0, 2, 1)]
        with pytest.raises(ZeroDivisionError):
            begun[0]()
        assert [result() for result in begun[1:]] == [3, 6]


def test_a_block_that_fails_ends_the_work_beside_it() -> None:
    """Nobody waits for hours of hashing before they are told what failed."""
    began, counted = threading.Event(), [0]

    def endless(advance: Advance) -> None:
        while True:
            advance(1)
            counted[0] += 1
            began.set()

    with pytest.raises(ReleaseError, match="full"), beside(endless):
        began.wait(10)
        raise ReleaseError("the disk is full")
    done = counted[0]
    assert done and counted[0] == done
