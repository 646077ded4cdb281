"""Loads what workers load, then forks one for each that asks. Ends with its standard input."""

import gc
import importlib
import json
import os
import resource
import runpy
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

from tagship.system.worker import _ENVIRONMENT

_MODULES = (
    *("torch", "transformers", "peft", "xllamacpp", "gguf", "conversion"),
    *(
        "transformers.generation",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
    ),
    *("transformers.models.phi3.modeling_phi3", "tagship.formats.registry", "tagship.verify.runtimes.transformers"),
)
_LONGEST = 1 << 20


def _serve(place: str) -> None:
    os.environ.update(_ENVIRONMENT)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    print(flush=True)
    os.close(1)
    gc.disable()
    for name in _MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for workers
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _wait_for_worker(connection)
        connection.close()


def _wait_for_worker(connection: socket.socket) -> None:
    """Fork a worker, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(_LONGEST)
    worker = os.fork()
    if worker == 0:
        _work(connection, descriptors, json.loads(message))
    for descriptor in descriptors:
        os.close(descriptor)
    status = os.waitpid(worker, 0)[1]
    with suppress(OSError):  # it was killed
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _work(connection: socket.socket, descriptors: list[int], asked: dict[str, Any]) -> None:
    """Be the worker that was started: with its arguments, environment, folder, limits, and what it reads and writes."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    tempfile.tempdir = None
    for name, limits in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limits))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    sys.argv = ["worker_process", *asked["arguments"]]
    try:
        runpy.run_module("tagship.system.worker_process", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _end_with(connection: socket.socket) -> None:
    """Where what was started is killed, its worker is."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    _serve(sys.argv[1])
