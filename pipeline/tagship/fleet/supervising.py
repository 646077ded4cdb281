"""Units, each done by an engine, all at a time as far as that has room: people see how far they are, what fails is done
again, and what fails three times ends the release."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from msgspec import Struct

from tagship.fleet.away import UnitDone
from tagship.fleet.engine import Engine, Needs
from tagship.release.planned import Unit
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, ToolError

TRIES = 3
# Where nobody knows on which machine it was.
_SOMEWHERE = "a machine"


class Supervised(Struct, frozen=True, kw_only=True):
    """What came of a unit, and in how many tries."""

    unit: Unit
    done: UnitDone
    tries: int


def run_units(
    engine: Engine, units: Sequence[tuple[Unit, Needs]], console: Console, *, partial: bool
) -> list[Supervised]:
    """Do units; returns what came of each, in their order. Raises ReleaseError for the first one that failed for good,
    unless the release may be `partial`; what is being done then is ended."""
    finished: dict[int, Supervised] = {}
    with ThreadPoolExecutor(max(1, len(units))) as threads:
        try:
            waiting = {threads.submit(_do, engine, unit, needs): (unit, needs, 1) for unit, needs in units}
            while waiting:
                with console.working(f"{len(finished)} of {len(units)} units are done"):
                    ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    unit, needs, tries = waiting.pop(future)
                    if again := _judged(future, unit, tries, console, partial=partial):
                        finished[unit.index] = again
                    else:
                        waiting[threads.submit(_do, engine, unit, needs)] = (unit, needs, tries + 1)
        except BaseException:
            engine.stop()
            raise
    return [finished[unit.index] for unit, _ in units]


def _do(engine: Engine, unit: Unit, needs: Needs) -> UnitDone:
    try:
        return engine.do(unit, needs)
    except ToolError as lost:
        return UnitDone(machine=_SOMEWHERE, seconds=0, error=str(lost), remedy=lost.remedy)


def _judged(
    future: "Future[UnitDone]", unit: Unit, tries: int, console: Console, *, partial: bool
) -> Supervised | None:
    """What a unit came to; None where it is to be done again. Raises ReleaseError where it failed for good."""
    done = future.result()
    name = f"{unit.index} {unit.name}"
    if done.error is None:
        console.note(f"{name}: done on {done.machine} in {done.seconds:.1f} s")
        return Supervised(unit=unit, done=done, tries=tries)
    if done.again and tries < TRIES:
        console.warn(f"{name} failed on {done.machine}: {done.error}", "it is done again")
        return None
    for line in done.printed.splitlines():
        console.note(f"{name}: {line}")
    times = f"{tries} times" if tries > 1 else "once, and would again"
    what = f"the unit {name} failed {times}, at last on {done.machine}: {done.error}"
    if not partial:
        raise ReleaseError(f"{what}\nnothing was published; what is done is kept", remedy=done.remedy)
    console.warn(what, done.remedy)
    return Supervised(unit=unit, done=done, tries=tries)
