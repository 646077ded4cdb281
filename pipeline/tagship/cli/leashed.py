"""The program in a process that ends, with all that it started, when its standard input does: whoever started it holds
the other end, and the kernel lets go of that however they ended."""

import os
import threading
from contextlib import suppress

import psutil

from tagship.cli.program import main


def _watch(held: int) -> None:
    while os.read(held, 1):
        pass
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    os._exit(1)


if __name__ == "__main__":
    # Nothing that it starts inherits the other end, and none of Python's own locks is waited in when it ends.
    leash = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_watch, args=(leash,), daemon=True).start()
    main()
