"""Runs a command and measures it from outside: wall time and peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil
from msgspec import Struct


class Measured(Struct, frozen=True, kw_only=True):
    """Seconds of wall time, the peak resident memory of the process in bytes, and, where it is known, the bytes
    that it put on the disk, intermediate files among them."""

    seconds: float
    memory: int
    disk: int | None = None


_TOUCH = "import mmap; mmap.mmap(-1, {}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)"


def settle(size: int) -> None:
    """Write out what is not on the disk yet, and have so many bytes of memory at hand, so that no side pays for what
    was before it. The host of a virtual machine takes back what is free, and giving it again takes several times as
    long as filling it."""
    os.sync()
    free = min(size, psutil.virtual_memory().available // 2)
    subprocess.run([sys.executable, "-c", _TOUCH.format(free)], check=True)


def measure(command: Sequence[str], *, cwd: str | None = None) -> Measured:
    """Run a command to its end. Raises RuntimeError when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    printed = process.stderr.read()
    process.stderr.close()
    # wait4 gives the usage of this one child; getrusage would give the highest of all so far.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{printed.decode(errors='replace')[-2000:]}")
    return Measured(seconds=time.monotonic() - began, memory=usage.ru_maxrss * 1024)


def best(command: Sequence[str], times: int, *, cwd: str | None = None) -> Measured:
    """The quickest of several runs: what the machine's other work disturbed least."""
    return min((measure(command, cwd=cwd) for _ in range(times)), key=lambda run: run.seconds)


def python(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def table(title: str, rows: Sequence[tuple[str, Measured]]) -> None:
    """Print the rows as Markdown, each with its ratio to the first."""
    first = rows[0][1]
    on_disk = first.disk is not None
    head = "| | seconds | of ours | peak memory | of ours |" + (" on the disk |" if on_disk else "")
    print(f"\n### {title}\n\n{head}\n|---|---:|---:|---:|---:|" + ("---:|" if on_disk else ""))
    for name, run in rows:
        print(
            f"| {name} | {run.seconds:.2f} | {run.seconds / first.seconds:.2f} "
            f"| {run.memory / 1e6:.0f} MB | {run.memory / first.memory:.2f} |"
            + (f" {run.disk / 1e9:.1f} GB |" if run.disk is not None else "")
        )
