"""Runs a command with all that it starts, and measures them together from outside."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from msgspec import Struct

# Seconds between two looks at the processes.
_LOOK = 0.1
# What some machines set, and users do not: each command would compile what is installed to be edited.
_NOT_SET = ("PYTHONDONTWRITEBYTECODE",)


class Took(Struct, frozen=True, kw_only=True):
    """Seconds of wall time and of processors, and bytes: the peak of anonymous memory of all processes together, what
    was read from the disk, and what was read at all, from the page cache too, as far as it was seen."""

    seconds: float
    processors: float
    memory: int
    from_disk: int
    read: int

    def __add__(self, other: "Took") -> "Took":
        """One after the other."""
        return Took(
            seconds=self.seconds + other.seconds,
            processors=self.processors + other.processors,
            memory=max(self.memory, other.memory),
            from_disk=self.from_disk + other.from_disk,
            read=self.read + other.read,
        )


NOTHING = Took(seconds=0, processors=0, memory=0, from_disk=0, read=0)


def run(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None, *, quiet: bool = False
) -> Took:
    """Run a command to its end, with these variables beside ours. Ends the program when it fails."""
    output = subprocess.DEVNULL if quiet else None
    began = time.monotonic()
    known = {name: value for name, value in os.environ.items() if name not in _NOT_SET} | dict(environment or {})
    process = subprocess.Popen(command, cwd=cwd, env=known, stdout=output, stderr=subprocess.PIPE if quiet else None)
    peaks, read = [0], {0: 0}
    looking = threading.Thread(target=_look, args=(process.pid, peaks, read))
    looking.start()
    printed = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    looking.join()
    if process.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {process.returncode}\n{printed.decode(errors='replace')[-2000:]}"
        )
    return Took(
        seconds=seconds,
        processors=usage.ru_utime + usage.ru_stime,
        memory=max(peaks),
        from_disk=usage.ru_inblock * 512,
        read=sum(read.values()),
    )


def _look(root: int, peaks: list[int], read: dict[int, int]) -> None:
    """Note the anonymous memory of a process and of all that it started, and what each has read, until it ends."""
    while psutil.pid_exists(root):
        try:
            process = psutil.Process(root)
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            all_of_them = [process, *process.children(recursive=True)]
            peaks.append(sum(map(_anonymous, all_of_them)))
            for each in all_of_them:
                with suppress(psutil.Error, OSError):  # it has ended
                    read[each.pid] = each.io_counters().read_chars
        except psutil.NoSuchProcess:
            return
        time.sleep(_LOOK)


def _anonymous(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)
