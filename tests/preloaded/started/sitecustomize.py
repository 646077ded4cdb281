"""Python runs this before anything else: a worker or a task is forked from the process that has loaded its modules."""

import os
import sys

_MODULES = {
    "TAGSHIP_TESTS_PRELOADED_WORKERS": "tagship.system.worker_process",
    "TAGSHIP_TESTS_PRELOADED_TASKS": "invoke",
}


def _fork(place: str, arguments: list[str]) -> None:
    """Have it forked, and end as it does; return where it cannot be."""
    import json
    import resource
    import signal
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(place)
        except OSError:
            return  # it has ended: this one loads them itself
        limits = {
            name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")
        }
        asked = {
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "limits": limits,
            "path": sys.path,
        }
        socket.send_fds(connection, [json.dumps(asked).encode() + b"\n"], [0, 1, 2])
        for descriptor in (0, 1):  # the other one's: whoever reads or writes there sees it end
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = int(connection.makefile().readline() or 9)
        if os.WIFSIGNALED(status):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
            os.kill(os.getpid(), os.WTERMSIG(status))
        os._exit(os.waitstatus_to_exitcode(status))


for _variable, _module in _MODULES.items():
    _at = sys.orig_argv.index(_module) if _module in sys.orig_argv else 0
    if _at and sys.orig_argv[_at - 1] == "-m" and (_place := os.environ.pop(_variable, None)):
        _fork(_place, sys.orig_argv[_at + 1 :])
