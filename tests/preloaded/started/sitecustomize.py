"""Python runs this before anything else: a worker is forked from the process that has loaded its modules."""

import os
import sys

if "tagship.system.worker_process" in sys.orig_argv and (place := os.environ.get("TAGSHIP_TESTS_PRELOADED")):
    import json
    import resource
    import signal
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(place)
        except OSError:
            pass  # it has ended: this one loads them itself
        else:
            limits = {
                name: resource.getrlimit(getattr(resource, name))
                for name in dir(resource)
                if name.startswith("RLIMIT_")
            }
            arguments = sys.orig_argv[sys.orig_argv.index("tagship.system.worker_process") + 1 :]
            asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd(), "limits": limits}
            socket.send_fds(connection, [json.dumps(asked).encode() + b"\n"], [0, 1, 2])
            for descriptor in (0, 1):  # the other one's: whoever reads or writes there sees it end
                os.close(descriptor)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            status = int(connection.makefile().readline() or 9)
            if os.WIFSIGNALED(status):
                signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
                os.kill(os.getpid(), os.WTERMSIG(status))
            os._exit(os.waitstatus_to_exitcode(status))
