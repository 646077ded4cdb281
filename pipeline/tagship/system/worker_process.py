"""The child's side of a worker: a process that calls functions for another one until its standard input ends.

Its arguments are a title for lists of processes, a folder, and modules to be imported at once. A request is a line with
a path, where the function and its arguments are. Lines of JSON say how far it is, and that it is done, or why it was
refused.
"""

import json
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, NoReturn

from tagship.system.errors import ReleaseError, ToolError
from tagship.system.modules import import_to_keep


def serve(folder: Path, modules: Sequence[str]) -> NoReturn:
    """Do what is asked, one piece after the other, `modules` imported. What is raised, but for a ReleaseError, ends the
    process.

    `folder` holds what is exchanged; who asks removes it, and this process does where that one was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to take; it ends this one
    # Libraries print to standard output, and ask on standard input, as they like; the other process is talked to
    # elsewhere.
    requests, channel = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    # What a library forks would hold them, and keep the other process waiting when this one has died.
    ours = requests.fileno(), channel.fileno()
    os.register_at_fork(after_in_child=lambda: [os.dup2(0, each, inheritable=False) for each in ours])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    asked, idle = SimpleQueue[Path](), threading.Event()
    threading.Thread(target=_watch, args=(requests, asked, idle, folder), daemon=True).start()
    sys.excepthook = lambda _, error, __: _end(error)
    import_to_keep(modules)
    while True:
        answer = _do(asked.get(), channel)
        idle.set()
        print(json.dumps(answer), file=channel)


def _end(error: BaseException) -> NoReturn:
    """End this process by an exception. The end of what was printed is told: so that comes last which the exception
    began with, as libraries wrap what they fail to import, and nothing of what they say when they are taken apart."""
    sys.stdout.flush()
    traceback.print_exception(error)
    first, seen = error, [error]
    while (cause := first.__cause__ or (None if first.__suppress_context__ else first.__context__)) is not None:
        if any(cause is each for each in seen):  # `raise error from error`
            break
        first = cause
        seen.append(first)
    if first is not error:
        print(*traceback.format_exception_only(first), file=sys.stderr, end="")
    sys.stderr.flush()
    os._exit(1)


def _watch(requests: IO[str], asked: SimpleQueue[Path], idle: threading.Event, folder: Path) -> None:
    """Take requests. When there can be no more, the other process is done with this one, or was killed: this one ends,
    in the midst of its work if need be."""
    idle.set()
    for line in requests:
        idle.clear()
        asked.put(Path(line.rstrip("\n")))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0 if idle.is_set() else 1)  # taking torch apart would take half a second


def _do(path: Path, channel: IO[str]) -> dict[str, Any]:
    function, arguments, counts = pickle.loads(path.read_bytes())
    more = [lambda done: print(json.dumps({"done": int(done)}), file=channel)] if counts else []
    try:
        function(*arguments, *more)
    except ReleaseError as error:
        kind = ToolError if isinstance(error, ToolError) else ReleaseError
        return {"refused": str(error), "remedy": error.remedy, "kind": kind.__name__}
    return {}


if __name__ == "__main__":
    serve(Path(sys.argv[2]), sys.argv[3:])
