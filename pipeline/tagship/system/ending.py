"""The end of a program that does not come to one, and that of this one, where somebody asks for it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen
from typing import Any

import psutil


class Terminated(KeyboardInterrupt):
    """This process was sent SIGTERM: what Ctrl-C is where nobody is at a keyboard, and as that it is kept from what
    catches errors."""


@contextmanager
def raising_terminated() -> Iterator[None]:
    """Have SIGTERM raise Terminated in the block, in the main thread, rather than end this process at once; one that
    follows while that is obeyed is not heard."""

    def obey(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, obey)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """What this thread starts in the block does not hear Ctrl-C, which a terminal sends to all of its processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_with_children(pid: int) -> None:
    """Kill a process and all that it started, if it is still there."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid)
        for each in (*started.children(recursive=True), started):
            with suppress(psutil.NoSuchProcess):
                each.kill()


def end_with_children(process: Popen[Any]) -> None:
    """Kill a process and all that it started, and wait for it: git leaves the network to programs of their own, which
    would go on without it, and hold what it prints to."""
    kill_with_children(process.pid)
    process.communicate()
