"""Passes over weights side by side: what the disk gives one of them is there for the others.

A model that memory does not hold is read from the disk in each pass. So what will be computed later, of the same model
or of one that has its files in common with it, is computed along with the next pass: layer by layer, each pass in its
turn, alone as far as arithmetic goes. What comes out is the same, to the last digit, as of passes one after another.
"""

import threading
from collections.abc import Callable, Sequence

Job = Callable[[], object]

_here = threading.local()
_expected: list[tuple[object, Job]] = []


def expect(owner: object, job: Job) -> None:
    """Have a job done along with the next pass, whatever that computes. It is work done ahead: what it raises is not
    told, as who needs what it makes asks for it again. An `owner` that goes takes its jobs along, by `forget`."""
    _expected.append((owner, job))


def forget(owner: object) -> None:
    """Have nothing done any more that this owner expected."""
    _expected[:] = [(other, job) for other, job in _expected if other is not owner]


def run_with_expected(job: Job) -> None:
    """Run a job, and beside it what is expected. Raises what the job raises, when the others have ended."""
    others = [other for _, other in _expected]
    _expected.clear()
    if others:
        _run_in_turns([job, *others])
    else:
        job()


def pause() -> None:
    """Let others go as far as this one has. Nothing where there are none."""
    turns: _Turns | None = getattr(_here, "turns", None)
    if turns is not None:
        turns.pass_on(_here.place)


class _Turns:
    """Whose turn it is, of jobs that each have a thread."""

    def __init__(self, count: int) -> None:
        self._may_go = [threading.Semaphore(0) for _ in range(count)]
        self._going = list(range(count))

    def start(self) -> None:
        """Let the first one go."""
        self._may_go[self._going[0]].release()

    def wait(self, place: int) -> None:
        """Until it is this one's turn."""
        self._may_go[place].acquire()

    def pass_on(self, place: int) -> None:
        """Let the next one go, and wait for one's own turn."""
        self._may_go[self._after(place)].release()
        self.wait(place)

    def end(self, place: int) -> None:
        """Leave it to the others."""
        after = self._after(place)
        self._going.remove(place)
        if self._going:
            self._may_go[after].release()

    def _after(self, place: int) -> int:
        return self._going[(self._going.index(place) + 1) % len(self._going)]


def _run_in_turns(jobs: Sequence[Job]) -> None:
    turns = _Turns(len(jobs))
    first, *others = jobs
    threads = [
        threading.Thread(target=_quietly, args=(job, turns, place), name=f"abreast-{place}", daemon=True)
        for place, job in enumerate(others, 1)
    ]
    for thread in threads:
        thread.start()
    turns.start()
    try:
        _run(first, turns, 0)
    finally:
        for thread in threads:
            thread.join()


def _quietly(job: Job, turns: _Turns, place: int) -> None:
    try:
        _run(job, turns, place)
    except Exception:  # noqa: BLE001
        return  # asked for again, it raises that again, to whoever can tell it


def _run(job: Job, turns: _Turns, place: int) -> None:
    _here.turns, _here.place = turns, place
    turns.wait(place)
    try:
        job()
    finally:
        _here.turns = None
        turns.end(place)
