"""Units that an engine does: shown, done again where they fail, given up after three times."""

from collections import Counter
from pathlib import Path
from threading import Event

import pytest
from tagship.fleet.away import UnitDone
from tagship.fleet.engine import Needs
from tagship.fleet.engines import find_engine
from tagship.fleet.supervising import TRIES, run_units
from tagship.release.planned import Unit
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, ToolError, UsageError

UNITS = [
    (Unit(index=index, place=index, name=name, digest=f"{index}" * 64), Needs(memory=None, disk=None))
    for index, name in enumerate(("vllm", "ollama q4_k_m", "lora"))
]


class Failing:
    """An engine of this process, whose units fail as often as is said; what is lost raises, as when a machine dies."""

    def __init__(self, failures: dict[str, int], *, lost: bool = False, again: bool = True) -> None:
        self.failures, self.lost, self.again = failures, lost, again
        self.asked = Counter[str]()
        self.stopped = Event()

    def do(self, unit: Unit, needs: Needs) -> UnitDone:
        self.asked[unit.name] += 1
        if self.asked[unit.name] > self.failures.get(unit.name, 0):
            return UnitDone(machine="node-1", seconds=2)
        if self.lost:
            raise ToolError("its node was lost", remedy="look there")
        return UnitDone(
            machine="node-2", seconds=1, error="no room", remedy="free some", again=self.again, printed="a\nb"
        )

    def stop(self) -> None:
        self.stopped.set()


@pytest.mark.parametrize("lost", [False, True])
def test_done_again(lost: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """A unit that fails, or whose machine is lost, is done again, and people are told; the others once."""
    engine = Failing({"lora": TRIES - 1}, lost=lost)
    done = run_units(engine, UNITS, Console(), partial=False)
    assert [(each.unit.name, each.tries) for each in done] == [("vllm", 1), ("ollama q4_k_m", 1), ("lora", TRIES)]
    assert engine.asked == {"vllm": 1, "ollama q4_k_m": 1, "lora": TRIES} and not engine.stopped.is_set()
    told = capfd.readouterr().err
    assert told.count("(it is done again)") == TRIES - 1 and told.count("done on node-1 in 2.0 s") == len(UNITS)


def test_three_times(capfd: pytest.CaptureFixture[str]) -> None:
    """What fails three times ends the release: it is named, with why, what it printed, and what mends it; what is being
    done is ended."""
    engine = Failing({"lora": TRIES})
    with pytest.raises(ReleaseError, match=r"the unit 2 lora failed 3 times, at last on node-2: no room") as told:
        run_units(engine, UNITS, Console(), partial=False)
    assert told.value.remedy == "free some" and engine.stopped.is_set() and engine.asked["lora"] == TRIES
    assert "2 lora: b" in capfd.readouterr().err


def test_a_mistake_is_not_repeated() -> None:
    """What would fail on any machine is not tried on another one."""
    engine = Failing({"lora": 1}, again=False)
    with pytest.raises(ReleaseError, match="failed once, and would again"):
        run_units(engine, UNITS, Console(), partial=False)
    assert engine.asked["lora"] == 1


def test_partial() -> None:
    """Where a release may be partial, the others are done to the end."""
    engine = Failing({"vllm": TRIES})
    done = run_units(engine, UNITS, Console(), partial=True)
    assert [each.done.error for each in done] == ["no room", None, None]


@pytest.mark.parametrize("on", ["rai", "", "ray://", "slurm://host"])
def test_no_engine(on: str) -> None:
    """An engine that there is not is refused with those that there are."""
    with pytest.raises(UsageError, match=f"there is no engine {on!r}") as told:
        find_engine(on)
    assert told.value.remedy == "--on here, ray, ray://HOST:PORT, slurm, submitit or hf-jobs"


def test_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where an engine's library is not installed, one message says how it would be."""
    for name in ("ray", "submitit"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(ReleaseError, match=f"{name} is not installed") as told, find_engine(name)(None, name):  # type: ignore[arg-type]
            raise AssertionError("it was opened")
        assert told.value.remedy and "fleet" in told.value.remedy
