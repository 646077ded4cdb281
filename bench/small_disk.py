"""A unit of a release on a machine with a small disk: the merged model of a synthetic Phi-3-mini, sent file by file.

Run by root as `python -m bench.small_disk [--layers 32] [--disk 14] [--memory 7]`, in decimal gigabytes and GiB: the
disk is a file system in a file, the memory a control group. Project, base and temporary files are on that disk; the
Hub that is published to is on another one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagship.hub_server.app import EmbeddedHub, Role

from bench.limited import POLICY, limited, make_project

_TOKEN = "hf_bench"
_ASKED = '\n[verify]\nprompts = ["Tell me a story of rivers"]\nmax_tokens = 32\n'
# Seconds between two looks at the disk.
_LOOK = 0.05


def main(layers: int, disk: float, memory: float) -> None:
    """Do the unit, gather it, and print what the disk held at most."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name, _small_disk(Path(name), disk) as small:
        project = small / "project"
        project.mkdir()
        make_project(project, layers, POLICY + _ASKED)
        (project / "tmp").mkdir()
        (project / ".gitignore").write_text("base/\nadapters/\nexports/\n.tagship/\nresults/\ntmp/\nplan.json\n")
        _git(project, "commit", "--quiet", "--all", "--message=bench")
        _git(project, "tag", "v1.0.0", "--message=bench")
        tokens = {_TOKEN: Role.WRITE}
        with EmbeddedHub(root=Path(name) / "hub", namespace="bench", tokens=tokens) as hub:
            told = {"HF_TOKEN": _TOKEN, "HF_HOME": str(project / "tmp"), "TMPDIR": str(project / "tmp")}
            chosen = ["--tag", "v1.0.0", "--hub", hub.url, "--format", "vllm", "--json-file", "plan.json"]
            _invoke([], project, told, "plan", *chosen)
            began, peak = time.monotonic(), [0]
            with limited(int(memory * 2**30)) as prefix, _watched(small, peak):
                _invoke(prefix, project, told, "work", "--plan", "plan.json", "--index", "0")
            print(f"the unit: {time.monotonic() - began:.0f} s; the disk held {max(peak) / 1e9:.1f} GB at most")
            shutil.rmtree(project / "exports")
            _invoke([], project, told, "gather", "--plan", "plan.json")


@contextmanager
def _small_disk(folder: Path, size: float) -> Iterator[Path]:
    image, mounted = folder / "disk", folder / "mounted"
    with image.open("wb") as file:
        file.truncate(int(size * 1e9))
    mounted.mkdir()
    # As on the disks of CI's machines, nothing is kept for root.
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@contextmanager
def _watched(disk: Path, peak: list[int]) -> Iterator[None]:
    """Note what a disk holds until the block ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK):
            peak.append(shutil.disk_usage(disk).used)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _invoke(prefix: list[str], project: Path, told: dict[str, str], *words: str) -> None:
    known = {"PYTHONPATH": str(Path(__file__).parents[1] / "pipeline")}
    subprocess.run(
        [*prefix, sys.executable, "-m", "invoke", *words], cwd=project, env=os.environ | known | told, check=True
    )


def _git(project: Path, *words: str) -> None:
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    subprocess.run(["git", *author, *words], cwd=project, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.small_disk")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--disk", type=float, default=14)
    parser.add_argument("--memory", type=float, default=7)
    asked = parser.parse_args()
    main(asked.layers, asked.disk, asked.memory)
