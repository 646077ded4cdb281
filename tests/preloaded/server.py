"""Loads what workers or tasks load, then forks one for each that asks. Ends with its standard input."""

import atexit
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
import time
from contextlib import suppress
from typing import Any

from tagship.system.worker import _ENVIRONMENT

_OF_WORKERS = (
    *("torch", "transformers", "peft", "xllamacpp", "gguf", "conversion"),
    *(
        "transformers.generation",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
    ),
    *("transformers.models.phi3.modeling_phi3", "tagship.formats.registry", "tagship.verify.runtimes.transformers"),
)
# Not huggingface_hub, which takes from the environment where its cache is when it is loaded.
_OF_TASKS = (
    *("invoke.main", "git", "jinja2", "markdown_it", "ml_dtypes", "numpy", "rich.progress", "uvicorn"),
    *("tagship.cli.releases", "tagship.cli.session", "tagship.fleet", "tagship.hub_server.app"),
    *("tagship.formats.lora", "tagship.formats.ollama.format", "tagship.formats.vllm", "tagship.weights.merge_writer"),
)
_LONGEST = 1 << 20


def _serve(kind: str, place: str) -> None:
    if kind != "tasks":
        os.environ.update(_ENVIRONMENT)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    print(flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # not closed: the number would be a connection's
    gc.disable()
    for name in _OF_TASKS if kind == "tasks" else _OF_WORKERS:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for workers
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _wait_for_one(connection, kind)
        connection.close()


def _wait_for_one(connection: socket.socket, kind: str) -> None:
    """Fork a process, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(_LONGEST)
    forked = os.fork()
    if forked == 0:
        _be(kind, connection, descriptors, json.loads(message))
    for descriptor in descriptors:
        os.close(descriptor)
    status = os.waitpid(forked, 0)[1]
    with suppress(OSError):  # it was killed
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _be(kind: str, connection: socket.socket, descriptors: list[int], asked: dict[str, Any]) -> None:
    """Be what was started: with its arguments, environment, folder, limits, and what it reads and writes."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    tempfile.tempdir = None
    time.tzset()
    for name, limits in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limits))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    module = "invoke" if kind == "tasks" else "tagship.system.worker_process"
    sys.argv = [module, *asked["arguments"]]
    # A task finds modules where it is started; a worker is told not to.
    sys.path[:] = [*([asked["folder"]] if kind == "tasks" else []), *asked["path"]]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """Where what was started is killed, its worker is."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    _serve(sys.argv[1], sys.argv[2])
