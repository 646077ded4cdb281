"""Workers that are killed at random while they do units: `python -m bench.kills [ENGINE …] [--kills N] [--minutes M]`.

Of each engine, and of plain `work` processes, so many are killed in releases of the example: the process of a unit, the
one that started it, or one that it started. Each release has to end with the bytes of one machine's; until then nothing
is on the Hub, and no whole result is made again. It ends with what does not hold.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct, field

from bench.engines import ENGINES, LEASHED, WORK, Opened, opened
from tests.end_to_end.conftest import Project, new_project

# Of each engine; and the minutes after which no more are.
_KILLS, _MINUTES = 30, 60.0
# Of the units that begin while some are still to be killed.
_CHANCE = 0.85
# Seconds between two looks, and those in which whatever belonged to a killed unit has to be gone.
_PAUSE, _GONE = 0.5, 120.0
# How often one command may be needed, as a unit was killed.
_AGAIN = 80
# Both without a GGUF, whose units take twice the time.
_FORMATS = ("--format", "vllm", "--format", "lora")


class Broken(Exception):
    """Something that has to hold does not."""


class Killer(Struct, kw_only=True):
    """Kills processes of units, each at a random time of the seconds that one takes: at first those of a release on one
    machine, then as those took that were spared."""

    left: int
    until: float
    random: random.Random
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    spared: set[psutil.Process] = field(default_factory=set)
    ends: dict[psutil.Process, tuple[float, float | None]] = field(default_factory=dict)

    def watch(self, process: "subprocess.Popen[bytes]", engine: Opened, project: Project) -> dict[str, Any]:
        """Kill until a process ends; returns the results that were whole meanwhile."""
        whole: dict[str, Any] = {}
        roots = (psutil.Process(process.pid), *engine.roots)
        while process.poll() is None:
            if engine.hub is None:
                whole |= engine.results(project)
            for unit in roots[:1] if engine.name == WORK else _units_below(roots):
                self._meet(unit, engine)
            self._forget()
            time.sleep(_PAUSE)
        self._forget()
        return whole

    def _forget(self) -> None:
        """Learn of units that ended what one takes."""
        for unit, (began, _) in list(self.ends.items()):
            if not _is_at_work(unit):
                self.ends.pop(unit)
                if unit in self.spared:
                    self.seconds = (self.seconds + time.monotonic() - began) / 2

    def _meet(self, unit: psutil.Process, engine: Opened) -> None:
        now = time.monotonic()
        if unit not in self.ends:
            dies = self.left > 0 and self.random.random() < _CHANCE
            self.spared |= set() if dies else {unit}
            self.ends[unit] = (now, now + self.random.uniform(0, self.seconds) if dies else None)
        began, end = self.ends[unit]
        if now > self.until:
            self.left = 0
        if end is not None and self.left > 0 and now >= end:
            self.ends[unit] = (began, None)
            self._kill(unit, engine)

    def _kill(self, unit: psutil.Process, engine: Opened) -> None:
        """Kill one of those that belong to a unit. With it, or with who started it, all of them have to end."""
        try:
            below = unit.children(recursive=True)
            parent = unit.parent()
            victims = [
                ("work", unit),
                *(("what work started", each) for each in below[:1] and [self.random.choice(below)]),
            ]
            if engine.name != WORK and parent is not None:
                victims.append(("who started work", parent))
            what, victim = self.random.choice(victims)
            victim.kill()
        except psutil.NoSuchProcess:
            return
        self.left -= 1
        self.killed[what] += 1
        if victim in below:
            return
        deadline = time.monotonic() + _GONE
        while alive := [each for each in (unit, *below) if _is_at_work(each)]:
            if time.monotonic() > deadline:
                raise Broken(f"{what} was killed, and at work is still: {[_told(each) for each in alive]}")
            time.sleep(_PAUSE)


def _units_below(roots: Sequence[psutil.Process]) -> Iterator[psutil.Process]:
    for root in roots:
        try:
            below = root.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        for process in below:
            try:
                # What it starts has its command line, too, until that is a program of its own.
                if LEASHED in process.cmdline() and LEASHED not in process.parent().cmdline():
                    yield process
            except (psutil.Error, AttributeError):
                continue


def _is_at_work(process: psutil.Process) -> bool:
    """Without waiting for it, which would take its exit code from who started it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _told(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return str(process.pid)


class Round(Struct, frozen=True, kw_only=True):
    """One project that is released while its workers are killed."""

    engine: Opened
    project: Project
    killer: Killer

    def run(self) -> int:
        """Release it; returns how many commands that took."""
        whole: dict[str, Any] = {}
        commands = 0
        for name, command in self._commands():
            for _ in range(_AGAIN):
                commands += 1
                code, said = self._run(command, whole, kills=name != "gather")
                print(f"{name} {command[-1]}: {code}; {self.killer.killed.total()} were killed", file=sys.stderr)
                if code == 0:
                    break
                if self.engine.name != WORK and "failed 3 times" not in said:
                    raise Broken(f"{name} ended with {code}: {said[-3000:]}")
                if published := self.engine.published(self.project).keys() - {"acme/phi3avro"}:
                    raise Broken(f"{name} failed, and published is {sorted(published)}")
            else:
                raise Broken(f"{name} failed {_AGAIN} times, at last with {code}: {said[-3000:]}")
        return commands

    def _commands(self) -> Iterator[tuple[str, list[str]]]:
        if self.engine.name != WORK:
            yield "release", self.project.command("release", *_FORMATS, *self.engine.options)
            return
        planned = self.project.invoke("plan", *_FORMATS, "--json-file", ".tagship/plan.json", "--json")
        for unit in planned.document["units"]:
            yield "work", self.project.command("work", "--plan", ".tagship/plan.json", "--index", str(unit["index"]))
        yield "gather", self.project.command("gather", "--plan", ".tagship/plan.json")

    def _run(self, command: list[str], whole: dict[str, Any], *, kills: bool) -> tuple[int, str]:
        environment = {**self.project.environment, **self.engine.environment}
        with (self.project.folder / ".git/said").open("w+b") as said:
            process = subprocess.Popen(
                command,
                cwd=self.project.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            seen = self.killer.watch(process, self.engine, self.project) if kills else {}
            code = process.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        for digest, made in {**seen, **self.engine.results(self.project)}.items():
            if whole.setdefault(digest, made) != made:
                raise Broken(f"the unit {digest} was whole, and was made again: {text[-3000:]}")
        return code, text


def main(engines: Sequence[str], kills: int, minutes: float, seed: int) -> None:
    """Kill so many of each, and print what was seen."""
    print("| units by | killed | releases | commands | minutes |", flush=True)
    print("|---|---|---:|---:|---:|", flush=True)
    for name in engines:
        began = time.monotonic()
        killer = Killer(left=kills, until=began + 60 * minutes, random=random.Random(f"{seed} {name}"))
        with opened(name) as engine:
            releases, commands = _until_killed(engine, killer)
        killed = ", ".join(f"{number} {what}" for what, number in killer.killed.most_common())
        took = (time.monotonic() - began) / 60
        print(f"| {name} | {killer.killed.total()}: {killed} | {releases} | {commands} | {took:.0f} |", flush=True)


def _until_killed(engine: Opened, killer: Killer) -> tuple[int, int]:
    """Release one project after the other until all are killed; returns how many releases and commands that took."""
    expected, releases, commands = None, 0, 0
    while expected is None or killer.left:
        with tempfile.TemporaryDirectory(prefix="tagship-bench-") as folder:
            project = new_project(Path(folder))
            engine.prepare(project)
            project.git("tag", "v1.0.0", "--message", "Release v1.0.0: learns a field")
            if expected is None:
                began = time.monotonic()
                expected = _on_one_machine(engine, project)
                killer.seconds = (time.monotonic() - began) / 2  # of two units
                continue
            commands += Round(engine=engine, project=project, killer=killer).run()
            releases += 1
            if (published := engine.published(project)) != expected:
                raise Broken(f"published is {published}, and one machine publishes {expected}")
    return releases, commands


def _on_one_machine(engine: Opened, project: Project) -> dict[str, dict[str, Any]]:
    done = project.invoke("release", *_FORMATS, **engine.environment)
    if done.code:
        raise Broken(done.stderr)
    return engine.published(project)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.kills", description=__doc__)
    parser.add_argument("engines", nargs="*", default=ENGINES, metavar="ENGINE", help=", ".join(ENGINES))
    parser.add_argument("--kills", type=int, default=_KILLS)
    parser.add_argument("--minutes", type=float, default=_MINUTES)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.engines, given.kills, given.minutes, given.seed)
