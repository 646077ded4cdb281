"""Units as processes of this machine: as many at a time as it has room for."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tagship.fleet.engine import Needs, Task
from tagship.fleet.shipment import Shipment
from tagship.fleet.submitit_engine import open_submitit, units_at_once
from tagship.policy.fleet import FleetPolicy
from tagship.release.planned import Unit
from tagship.system.console import Console
from tagship.system.errors import ToolError

SHIPMENT = Shipment(
    policy="release.toml",
    document="{}",
    commit="0" * 40,
    bundle=b"",
    remote=None,
    files={},
    seen={},
    results="results",
    mark=None,
)


def task_of(needs: list[int | None], cores: int | None, scratch: Path) -> Task:
    """What an engine is opened for."""
    return Task(
        shipment=SHIPMENT,
        needs=tuple(Needs(memory=memory, disk=None) for memory in needs),
        policy=FleetPolicy(cores=cores),
        console=Console(),
        scratch=scratch,
        endpoint="embedded",
        namespace="acme",
    )


@pytest.mark.parametrize(
    ("cores", "needs", "at_once"),
    [
        (None, [10, 20], 1),  # a machine for each
        (2, [10, 20], 4),
        (2, [10, None], 4),
        (1, [10, 30], 3),  # by memory
        (1, [None], 8),
        (1, [500], 1),  # what does not fit is refused by the unit itself, which says why
        (16, [10], 1),
    ],
)
def test_room(cores: int | None, needs: list[int | None], at_once: int) -> None:
    """A machine of eight processors and 100 bytes of memory has room for so many units."""
    assert units_at_once(task_of(needs, cores, Path()), processors=8, memory=100) == at_once


@pytest.mark.slow
def test_one_after_another(tmp_path: Path) -> None:
    """Processes of this machine have it to themselves, unless the policy says otherwise; those that wait are not begun
    when the release is ended."""
    pytest.importorskip("submitit")
    units = [Unit(index=index, place=index, name="lora", digest=f"{index}" * 64) for index in range(3)]
    needs = Needs(memory=None, disk=None)
    with open_submitit(task_of([None], None, tmp_path), "submitit") as engine, ThreadPoolExecutor(3) as threads:
        doing = [threads.submit(engine.do, unit, needs) for unit in units]
        at_once = set()
        while not all(each.done() for each in doing):
            at_once.add(len(engine._running))
            time.sleep(0.01)
        assert all(each.result().error for each in doing), "nothing is in what was shipped"
        assert max(at_once) == 1
        engine.stop()
        with pytest.raises(ToolError, match="was not begun"):
            engine.do(units[0], needs)
