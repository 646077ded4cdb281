"""Bounds on code that is somebody else's data, such as a chat template: it may never end, or ask for all memory."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

try:
    import resource
except ImportError:  # Windows has neither this nor the timer
    resource = None  # type: ignore[assignment]

_STATM = Path("/proc/self/statm")
# Seconds after which what goes on nevertheless is stopped once more.
_AGAIN = 0.5


class _Stopped(BaseException):
    """No Exception: what is bounded takes those for its own."""


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer than `seconds`, MemoryError in what takes `memory` bytes more than the
    process has now. Time is bounded in the main thread alone, which is where signals arrive."""
    with _bounded_memory(memory), _bounded_time(seconds):
        yield


@contextmanager
def _bounded_time(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    except _Stopped:
        raise TimeoutError(f"it takes longer than {seconds:g} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _bounded_memory(more: int) -> Iterator[None]:
    if resource is None or not _STATM.is_file():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = now + more
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
