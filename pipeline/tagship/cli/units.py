"""The verbs that do a release in units, on as many machines as one likes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tagship.cli.releases import show_plan, show_result
from tagship.cli.reports import release_document
from tagship.cli.session import Document, Session
from tagship.release.gather import Gathering, as_far_as_done, gathering_steps
from tagship.release.plan import Plan
from tagship.release.planned import Planned, check_commit, check_same, read_planned
from tagship.release.result_store import FolderStore
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.release.unit_results import name_of
from tagship.release.units import plan_document
from tagship.release.work import UnitWork, do_unit, result_of
from tagship.system.called import called
from tagship.system.disk import check_writable
from tagship.system.errors import UsageError

# Who starts many of the same command tells each of them which it is: Kubernetes' indexed jobs, and SLURM's arrays.
_INDEXES = ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    """A plan's document, the same plan made in this clone, and where the results are."""

    planned: Planned
    plan: Plan
    store: FolderStore


def work(session: Session, plan_file: str | None, index: str | None, results: str, *, to_hub: bool) -> Document:
    """One unit of a plan, done unless it was; its result is left where the others' are, or its large files `to_hub`."""
    here = _open(session, plan_file, results)
    if to_hub and not here.plan.publishes:
        raise UsageError("--to-hub is given, and tags of this stream do not publish", remedy="leave --to-hub out")
    unit = here.planned.unit(_index(index))
    check_writable([here.store.root])
    job = UnitWork(planned=here.planned, unit=unit, store=here.store, to_hub=to_hub)
    session.console.step("Unit", f"{unit.index} of {len(here.planned.units)}: {unit.name}")
    result = here.store.root / name_of(unit.digest)
    document = {"index": unit.index, "name": unit.name, "digest": unit.digest, "results": str(here.store.root)}
    if result_of(job, here.plan, session.console) is not None:
        session.console.note(f"it was done before: {result}")
        return document | {"done_before": True}
    with open_tools(here.plan, session.repository, session.console) as tools:
        finished = do_unit(job, here.plan, tools)
    session.console.note(f"its result is {result}")
    return document | {"done_before": False, "seconds": finished.seconds}


def gather(session: Session, plan_file: str | None, results: str) -> Document:
    """All units of a plan, checked and published as one release."""
    here = _open(session, plan_file, results)
    gathering = Gathering(planned=here.planned, store=here.store)
    show_plan(session.console, here.plan)
    plan = as_far_as_done(gathering, here.plan, session.console)
    with open_tools(plan, session.repository, session.console) as tools:
        finished = run_steps(gathering_steps(gathering), plan, tools)
    show_result(session.console, plan, finished, tools.templates)
    return release_document(plan, finished) | {"missing": list(plan.missing)}


def _open(session: Session, plan_file: str | None, results: str) -> _Here:
    """Read a plan's document, and make the plan here. Raises UsageError for what is none, ReleaseError where this clone
    is not what was planned."""
    if plan_file is None:
        raise UsageError("which plan?", remedy=f"--plan plan.json, which {called()} plan --json-file plan.json writes")
    file, folder = Path(plan_file).absolute(), Path(results).absolute()
    session = replace(session, config=replace(session.config, set_apart=(file, folder)))
    planned = read_planned(file, session.config.root)
    check_commit(planned, session.repository, session.config.own_folders)
    plan = session.planned(planned.options)
    check_same(planned, plan_document(plan, planned.options, session.templates))
    return _Here(planned=planned, plan=plan, store=FolderStore(folder))


def _index(given: str | None, environment: Callable[[str], str | None] = os.environ.get) -> int:
    """Which unit is to be done: as `--index` says, else as whoever started this process does. Raises UsageError."""
    said = {"--index": given} | {name: environment(name) for name in _INDEXES}
    name, value = next(((name, value) for name, value in said.items() if value), (None, None))
    if name is None or value is None:
        raise UsageError("which unit?", remedy=f"--index N, or one of {', '.join(_INDEXES)} in the environment")
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise UsageError(f"{name} must be the number of a unit, from 0 on, not {value!r:.100}")
    return int(value)
