"""The verbs that do a release in units, on as many machines as one likes."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.cli.releases import show_plan, show_result
from tagship.cli.reports import release_document
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.cli.unit_index import unit_index
from tagship.release.gather import Gathering, as_far_as_done, gathering_steps
from tagship.release.plan import Plan
from tagship.release.planned import Planned, PlannedRuns, check_commit, check_same, read_planned
from tagship.release.remote_store import is_address, open_store
from tagship.release.result_store import ResultStore
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.release.unit_results import name_of
from tagship.release.units import RUNS, check_apart, plan_document
from tagship.release.work import UnitWork, do_unit, result_of
from tagship.system.called import called
from tagship.system.errors import UsageError


class _Here(Struct, frozen=True, kw_only=True):
    """What was planned, read where it is to be done, and where the results are."""

    session: Session
    runs: PlannedRuns
    store: ResultStore

    def plan(self, planned: Planned) -> Plan:
        """The plan of a run, made in this clone. Raises ReleaseError where it is not what was planned."""
        made = self.session.planned(replace(planned.options, proposes=self.session.options.proposes))
        check_same(planned, plan_document(made, planned.options, self.session.templates))
        return made


def work(session: Session, plan_file: str | None, index: str | None, results: str, *, to_hub: bool) -> Document:
    """One unit of a plan, done unless it was; its result is left where the others' are, or its large files `to_hub`."""
    chosen = unit_index(index)
    here = _open(session, plan_file, results)
    planned, unit = here.runs.unit(chosen.index)
    plan = here.plan(planned)
    if to_hub and not plan.publishes:
        raise UsageError("--to-hub is given, and tags of this stream do not publish", remedy="leave --to-hub out")
    here.store.check()
    job = UnitWork(planned=planned, unit=unit, store=here.store, to_hub=to_hub)
    which = f"{unit.index} of {here.runs.number}, as {chosen.said_by} says"
    session.console.step("Unit", f"{which}: {unit.name} of {plan.run.name}")
    result = f"{here.store.place}/{name_of(unit.digest)}"
    document = {"index": unit.index, "index_from": chosen.said_by, "name": unit.name, "digest": unit.digest}
    document["results"] = here.store.place
    if result_of(job, plan, session.console) is not None:
        session.console.note(f"it was done before: {result}")
        return document | {"done_before": True}
    with open_tools(plan, session.repository, session.console) as tools:
        finished = do_unit(job, plan, tools)
    session.console.note(f"its result is {result}")
    return document | {"done_before": False, "seconds": finished.seconds}


def gather(session: Session, plan_file: str | None, results: str, *, shows: bool = True) -> Document:
    """All units of a plan, checked and published as one release; the plan is shown, unless it was already."""
    here = _open(session, plan_file, results)
    plans = [(Gathering(planned=planned, store=here.store), here.plan(planned)) for planned in here.runs.plans]
    check_apart([plan for _, plan in plans])
    if shows:
        for _, plan in plans:
            show_plan(session.console, plan)
    plans = as_far_as_done(plans, session.console)
    with open_tools(plans[0][1], session.repository, session.console) as tools:
        looked_at = [run_steps(gathering_steps(each)[0], plan, tools) for each, plan in plans]
        finished = [
            run_steps(gathering_steps(each)[1], plan, tools, before=before)
            for (each, plan), before in zip(plans, looked_at, strict=True)
        ]
    documents = []
    for (_, plan), done in zip(plans, finished, strict=True):
        show_result(session.console, plan, done, tools.templates)
        document = release_document(plan, done)
        document["missing"] = list(plan.missing)
        documents.append(document)
    return documents[0] if len(here.runs.plans) == 1 else _of_all(documents)


def _of_all(documents: Sequence[Document]) -> Document:
    """One document of several runs, which says no where that of one does."""
    together: Document = {RUNS: list(documents)}
    if refusal := next((each for each in documents if isinstance(each, Refusal)), None):
        return Refusal(together | {key: refusal[key] for key in ("error", "remedy")})
    return together


def _open(session: Session, plan_file: str | None, results: str) -> _Here:
    """Read a plan's document. Raises UsageError for what is none, ReleaseError where this clone is of another
    commit."""
    if plan_file is None:
        raise UsageError("which plan?", remedy=f"--plan plan.json, which {called()} plan --json-file plan.json writes")
    file, store = Path(plan_file).absolute(), open_store(results)
    own = (file,) if is_address(results) else (file, Path(results).absolute())
    session = replace(session, config=replace(session.config, set_apart=own))
    runs = read_planned(file, session.config.root)
    check_commit(runs.plans[0], session.repository, session.config.own_folders)
    return _Here(session=session, runs=runs, store=store)
