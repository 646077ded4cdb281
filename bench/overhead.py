"""What engines cost for each unit: `python -m bench.overhead [SIDE …] [--adapters 20]`.

So many adapters of the example's base in three formats are one release, done by `release` on one machine, by `work` for
one unit after another and `gather`, and by each engine on this machine. Processor seconds are those of a control group
that everything runs in, the engine's own processes and a Hub that it needs among them; they hold on a machine that
others work on, too, which seconds of wall time do not.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from msgspec import Struct
from safetensors.numpy import load_file, save_file

from bench.engines import ENGINES, WORK, Opened, opened
from tests.end_to_end.conftest import NEWEST_RUN, Project, new_project

_ADAPTERS = 20
_FORMATS = ("vllm", "ollama", "lora")
_RELEASE = "release"
# Where processor time of a group is to be had, with what reads it.
_V1, _V2 = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")


class Spent(Struct, frozen=True, kw_only=True):
    """Seconds of wall time, and of processors."""

    wall: float
    processors: float


@contextmanager
def processor_clock() -> Iterator[Callable[[], float]]:
    """What tells the processor seconds of this process and of all that it starts from now on, whoever outlives whom."""
    root = _V1 if _V1.is_dir() else _V2
    group = root / f"tagship-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise SystemExit(f"no control group can be made, which counts processor time: {error}") from error
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield lambda: _seconds(group)
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(pid)
        group.rmdir()


def _seconds(group: Path) -> float:
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    told = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(told["usage_usec"]) / 1e6


def add_adapters(project: Project, number: int) -> list[str]:
    """Commit so many runs of one base, with weights of their own; returns their names."""
    runs = project.folder / "examples/avro/adapters"
    first = runs / NEWEST_RUN
    tensors = load_file(first / "adapter_model.safetensors")
    random = np.random.default_rng(0)
    names = []
    for count in range(number):
        name = NEWEST_RUN.replace("20250914", f"202510{count + 1:02}")
        shutil.copytree(first, runs / name)
        changed = {key: (value * random.uniform(0.9, 1.1)).astype(value.dtype) for key, value in tensors.items()}
        save_file(changed, runs / name / "adapter_model.safetensors", metadata={"format": "pt"})
        names.append(name)
    repos = '[naming.repo]\ntagged = "{run}-{label}-v{version}"\n\n[naming.bases]'
    project.replace("release.toml", "[naming.bases]", repos)
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=feat: train adapters")
    return names


def measure(engine: Opened, adapters: int, clock: Callable[[], float], *, plainly: bool) -> Spent:
    """Release so many adapters by an engine that is open, or `plainly` on one machine."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as folder:
        project = new_project(Path(folder))
        engine.prepare(project)
        chosen = [word for name in add_adapters(project, adapters) for word in ("--run", name)]
        chosen += [word for form in _FORMATS for word in ("--format", form)]
        project.git("tag", "v1.0.0", "--message", "Release v1.0.0: so many fields")
        began, before = time.monotonic(), clock()
        if plainly or engine.name != WORK:
            _invoke(project, engine, _RELEASE, *engine.options, *chosen)
        else:
            _by_hand(project, engine, chosen)
        return Spent(wall=time.monotonic() - began, processors=clock() - before)


def _by_hand(project: Project, engine: Opened, chosen: Sequence[str]) -> None:
    plan = ("--plan", ".tagship/plan.json")
    _invoke(project, engine, "plan", *chosen, "--json-file", plan[1])
    for unit in json.loads((project.folder / plan[1]).read_text())["units"]:
        _invoke(project, engine, "work", *plan, "--index", str(unit["index"]))
    _invoke(project, engine, "gather", *plan)


def _invoke(project: Project, engine: Opened, *words: str) -> None:
    done = project.invoke(*words, **engine.environment)
    if done.code:
        raise SystemExit(f"{words[0]} ended with {done.code}: {done.stderr[-3000:]}")


def main(sides: Sequence[str], adapters: int) -> None:
    """Print the table, each side when it is done."""
    units = adapters * len(_FORMATS)
    print(f"\n{adapters} adapters x {len(_FORMATS)} formats, {units} units\n")
    print("| | wall | processors | for each unit | of the first |\n|---|---:|---:|---:|---:|", flush=True)
    first: Spent | None = None
    with processor_clock() as clock:
        for side in sides:
            plainly = side == _RELEASE
            with opened(WORK if plainly else side) as engine:
                spent = measure(engine, adapters, clock, plainly=plainly)
            first = first or spent
            each, ratio = spent.processors / units, spent.processors / first.processors
            row = f"{spent.wall:.0f} s | {spent.processors:.0f} s | {each:.1f} s | {ratio:.2f}"
            print(f"| `{side}` | {row} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.overhead", description=__doc__)
    every = (_RELEASE, *ENGINES)
    parser.add_argument("sides", nargs="*", default=every, metavar="SIDE", help=", ".join(every))
    parser.add_argument("--adapters", type=int, default=_ADAPTERS)
    given = parser.parse_args()
    main(given.sides, given.adapters)
