"""The verb `release`, where the units of it are done on other machines."""

import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.cli import releases, units
from tagship.cli.options import OPTIONS
from tagship.cli.session import Document, Session
from tagship.fleet.engine import Needs, Task
from tagship.fleet.engines import find_engine
from tagship.fleet.shipment import Packing, pack
from tagship.fleet.supervising import Supervised, run_units
from tagship.policy.config import UNITS_FOLDER
from tagship.policy.fleet import HERE
from tagship.release.gather import Gathering, gathering_steps
from tagship.release.plan import Plan
from tagship.release.planned import PlannedRuns, Unit, check_commit, read_planned
from tagship.release.remote_store import is_address, open_store
from tagship.release.result_store import ResultStore
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.release.unit_results import has_result
from tagship.release.units import check_apart, plan_document, runs_document
from tagship.system.ending import raising_terminated
from tagship.system.errors import UsageError
from tagship.system.files import write_json


class _Away(Struct, frozen=True, kw_only=True):
    """Where units are done, and where their results go."""

    on: str
    results: str
    to_hub: bool


def release(session: Session, on: str | None, results: str, *, to_hub: bool) -> Document:
    """A release, where `--on` or else `[fleet] engine` says. Raises UsageError for options that this machine alone has
    no use for."""
    on = on or session.config.fleet.engine
    if on != HERE:
        return _release_on(session, _Away(on=on, results=results, to_hub=to_hub))
    if to_hub or results != OPTIONS["results"][0]:
        option = "--to-hub" if to_hub else "--results"
        raise UsageError(f"{option} is for releases on several machines", remedy=f"leave {option} out, or say --on ray")
    return _release_here(session) if session.options.more_runs else releases.release(session)


def _release_here(session: Session) -> Document:
    """A release of several runs, whose units are done here one after the other, and gathered."""
    planned = _planned(session)
    results = session.config.state / "results"
    _check(session, planned, open_store(str(results)), str(results))
    for index in range(planned.runs.number):
        units.work(session, str(planned.file), str(index), str(results), to_hub=False)
    gathered = units.gather(session, str(planned.file), str(results), shows=False)
    shutil.rmtree(results)  # it is published
    return gathered


class _Planned(Struct, frozen=True, kw_only=True):
    """The plan of each run that is released, and the document of them, read from its file."""

    plans: list[Plan]
    document: Mapping[str, Any]
    file: Path
    runs: PlannedRuns


def _planned(session: Session) -> _Planned:
    plans = session.plans()
    check_apart(plans)
    for made in plans:
        releases.show_plan(session.console, made)
    documents = [plan_document(made, session.options, session.templates) for made in plans]
    document = documents[0] if len(documents) == 1 else runs_document(documents)
    file = session.config.state / "fleet" / f"{document['digest'][:16]}.json"
    write_json(file, document)
    return _Planned(plans=plans, document=document, file=file, runs=read_planned(file, session.config.root))


def _release_on(session: Session, away: _Away) -> Document:
    """A release whose units an engine does, and which is gathered here. Raises UsageError for an engine that there is
    not, ReleaseError where a unit fails."""
    find_engine(away.on)  # told before anything is written
    store = open_store(away.results)
    planned = _planned(session)
    if away.to_hub and not planned.plans[0].publishes:
        raise UsageError("--to-hub is given, and tags of this stream do not publish", remedy="leave --to-hub out")
    _check(session, planned, store, away.results)
    to_do = [unit for unit in planned.runs.units if not has_result(store, unit)]
    before = planned.runs.number - len(to_do)
    session.console.step("Units", f"{len(to_do)} on {away.on}" + (f"; {before} done before" if before else ""))
    with releases.going_on(planned.plans[0]):
        done = _done_away(session, planned, away, to_do) if to_do else []
        gathered = units.gather(session, str(planned.file), away.results, shows=False)
    gathered["fleet"] = {"engine": away.on, "units": _told(planned.runs.units, done)}
    return gathered


def _done_away(session: Session, planned: _Planned, away: _Away, to_do: Sequence[Unit]) -> list[Supervised]:
    """Have an engine do units of what is planned."""
    needed = [(unit, _needs(planned.document["units"][unit.index])) for unit in to_do]
    inputs = {name for each in planned.runs.plans for name in each.document["inputs"]}
    made = planned.plans[0]
    with _marked(away.results) as mark:
        packing = Packing(
            plans=tuple(planned.plans),
            document=planned.file.read_text(encoding="utf-8"),
            inputs=tuple(sorted(inputs)),
            results=away.results,
            mark=mark,
            to_hub=away.to_hub,
        )
        task = Task(
            shipment=pack(packing, session.repository),
            needs=tuple(needs for _, needs in needed),
            policy=session.config.fleet,
            console=session.console,
            scratch=planned.file.parent,
            endpoint=made.endpoint,
            namespace=session.config.namespace,
        )
        # Inside, as Ray has its own opinion of SIGTERM, from when it is connected to.
        with find_engine(away.on)(task, away.on) as engine, raising_terminated():
            return run_units(engine, needed, session.console, partial=session.config.release.partial)


def _check(session: Session, planned: _Planned, store: ResultStore, results: str) -> None:
    """What can be known before any machine is asked for: the tree, where results go, and all that gathering asks."""
    own = session.config.own_folders + (() if is_address(results) else (Path(results).absolute(),))
    check_commit(planned.runs.plans[0], session.repository, own)
    store.check()
    with open_tools(planned.plans[0], session.repository, session.console) as tools:
        for made, each in zip(planned.plans, planned.runs.plans, strict=True):
            (gates, *_), _ = gathering_steps(Gathering(planned=each, store=store))
            run_steps((gates,), made, tools)


def _needs(unit: Mapping[str, Any]) -> Needs:
    return Needs(memory=unit.get("memory"), disk=unit.get("disk"))


@contextmanager
def _marked(results: str) -> Iterator[Path | None]:
    """A file in a folder of results, by which other machines know that they see it; None for an address."""
    if is_address(results):
        yield None
        return
    # Among the units, where one that a killed release left makes no tree dirty.
    mark = Path(results).absolute() / UNITS_FOLDER / f".seen-{secrets.token_hex(8)}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _told(planned: Sequence[Unit], done: Sequence[Supervised]) -> list[dict[str, Any]]:
    by_index = {each.unit.index: each for each in done}
    return [_unit_told(unit, by_index.get(unit.index)) for unit in planned]


def _unit_told(unit: Unit, each: Supervised | None) -> dict[str, Any]:
    told: dict[str, Any] = {"index": unit.index, "name": unit.name, "done_before": each is None}
    if each is not None:
        told |= {"machine": each.done.machine, "seconds": each.done.seconds, "tries": each.tries}
    return told
