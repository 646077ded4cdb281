"""The end of a program that does not come to one."""

from contextlib import suppress
from subprocess import Popen
from typing import Any

import psutil


def end_with_children(process: Popen[Any]) -> None:
    """Kill a process and all that it started, and wait for it: git leaves the network to programs of their own, which
    would go on without it, and hold what it prints to."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid)
        for each in (*started.children(recursive=True), started):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.communicate()
