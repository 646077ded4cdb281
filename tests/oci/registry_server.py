"""Debian's docker-registry, on loopback: its program and a folder are all that it needs."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

PROGRAM = shutil.which("docker-registry")
needs_registry = pytest.mark.skipif(
    PROGRAM is None, reason="there is no docker-registry (apt-get install docker-registry)"
)
PASSWORDS = "ada:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n"


@contextmanager
def running_registry(folder: Path, *, passwords: bool = False, host: str = "") -> Iterator[str]:
    """A registry that keeps its files in a folder; its host and port."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = host or f"127.0.0.1:{free.getsockname()[1]}"
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    if passwords:
        (folder / "passwords").write_text(PASSWORDS)
        settings["auth"] = {"htpasswd": {"realm": "registry", "path": str(folder / "passwords")}}
    (folder / "config.yml").write_text(json.dumps(settings))  # which is YAML, too
    assert PROGRAM
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            _wait_for(host, process)
            yield host
        finally:
            process.terminate()
            process.wait()


def _wait_for(host: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            urlopen(f"http://{host}/v2/", timeout=5).close()
            return
        except HTTPError as error:  # it wants a password
            error.close()
            return
        except OSError:
            assert process.poll() is None, "the registry ended"
            time.sleep(0.05)
    raise AssertionError("the registry does not answer")
