"""Workers of tests that need not load what all of them load.

Most of a whole release of a tiny model is loading torch, transformers and PEFT: eight seconds of a processor. Here one
process has loaded them (`server.py`) and forks one for each worker, which goes on as if it had loaded them itself; the
process that tagship started (`started/sitecustomize.py`, which Python runs first) waits for it, and ends as it does.
Elsewhere than on Linux, and where it is measured which lines are run, workers start by themselves, as users' do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "TAGSHIP_TESTS_PRELOADED"
_HERE = Path(__file__).parent


@contextmanager
def preloaded(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which workers are forked, while the block runs; an empty one where they are not."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        yield {}
        return
    socket = folder / "workers"
    command = [sys.executable, "-P", str(_HERE / "server.py"), str(socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        try:
            server.stdout.read(1)  # it listens
            others = os.environ.get("PYTHONPATH")
            yield {
                VARIABLE: str(socket),
                "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE / "started"), others))),
            }
        finally:
            server.stdin.close()
