"""One unit of a release, done on any machine: exported, verified, and left with its evidence where results go.

What has to see the whole release is left to those who gather: cards, archives, the Hub.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.manifest import MANIFEST_FILE, file_entry, tool_version
from tagship.history.model_lookup import disk_state
from tagship.release import steps
from tagship.release.describing import sizes_of, unless_versioned
from tagship.release.evaluating import unless_evaluated
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.planned import Planned, Unit, check_model
from tagship.release.result_store import ResultStore
from tagship.release.results import Answered, Exported, Fetched, Fitting, Results, Sent, Verified
from tagship.release.room import check_room
from tagship.release.runner import Finished, run_steps
from tagship.release.step import Step, Tools
from tagship.release.targets import Target
from tagship.release.trained import draft_target
from tagship.release.unit_results import (
    Found,
    UnitResult,
    answers_digest,
    find_result,
    put_failure,
    put_result,
    results_scratch,
)
from tagship.system.console import Console
from tagship.system.disk import told
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import scratch_folder
from tagship.system.modules import are_installed


class UnitWork(Struct, frozen=True, kw_only=True):
    """A unit of a plan, and where its result goes: its large files `to_hub` ahead of the commit, if that is asked."""

    planned: Planned
    unit: Unit
    store: ResultStore
    to_hub: bool = False


def result_of(work: UnitWork, plan: Plan, console: Console) -> UnitResult | None:
    """What a unit came to before, where that is whole. What is damaged is warned of: it is done again."""
    try:
        with results_scratch(plan.config.exports) as scratch:
            found: Found | None = find_result(work.store, work.planned, work.unit, scratch)
    except ToolError:
        raise
    except ReleaseError as error:
        console.warn(str(error), "it is done again")
        return None
    return found.result if found else None


def do_unit(work: UnitWork, plan: Plan, tools: Tools) -> Finished:
    """Do a unit, and leave its result: all of it or nothing. Raises ReleaseError where it fails, of which a record is
    left for those who gather."""
    alone = replace(plan, targets=(plan.targets[work.unit.place],))
    try:
        with scratch_folder("draft", plan.config.exports) as drafts:
            return run_steps(_steps(work, plan, drafts), alone, tools)
    except ReleaseError as error:
        _leave(work, plan, error, tools.console)
        raise
    except OSError as error:
        if (refused := told(error)) is not None:
            with suppress(OSError):  # the disk that is full may be the one of the results
                _leave(work, plan, refused, tools.console)
        raise


def _leave(work: UnitWork, plan: Plan, error: ReleaseError, console: Console) -> None:
    """Leave why a unit failed; where that cannot be left, it is said here, and the failure stays what is told."""
    try:
        with results_scratch(plan.config.exports) as scratch:
            put_failure(work.store, work.unit, error, scratch)
    except ToolError as unreachable:
        console.warn(f"who gathers will not know why: {unreachable}", unreachable.remedy)


def _steps(work: UnitWork, plan: Plan, drafts: Path) -> tuple[Step, ...]:
    """What is done of a unit of a plan; `drafts` is a folder for what is made to draft answers."""
    return steps.as_task(
        steps.GATES,  # what can be known here; those who gather ask the Hub
        replace(steps.NOTES, skip=_unless_compared),  # which version its scores are compared with
        steps.BASE,
        steps.NAMES,
        steps.FIT,  # the unit fits memory and disk
        steps.EXAMINE,
        steps.SHARE,
        steps.EXPORT,
        Step(name="draft", title="What drafts answers", once=partial(_draft, targets=plan.targets, drafts=drafts)),
        steps.REFERENCE,  # what the trained model answers, as in every other unit
        steps.TASK,
        steps.VERIFY,
        *_sending(work, plan),
        Step(name="keep", title="Result", each=partial(_keep, work=work)),
    )


def _sending(work: UnitWork, plan: Plan) -> tuple[Step, ...]:
    """What sends large files to the Hub: all of them, where that is asked for; else those that this disk has no room
    for, unless a registry is to have them, too, or the Hub is on this disk."""
    if work.to_hub:
        return (steps.SEND,)
    may_send = plan.publishes and not plan.embedded and plan.config.publish.oci is None
    return (steps.SEND_WHERE_FULL,) if may_send else ()


def _unless_compared(plan: Plan) -> str | None:
    return unless_versioned(plan) or unless_evaluated(plan)


def _draft(plan: Plan, done: Results, tools: Tools, *, targets: Sequence[Target], drafts: Path) -> Iterator[object]:
    """The export of the release that writes drafts of answers, where that is another unit's: on one machine it would be
    there. It is made in a folder of this unit's own, as the other one may be at work beside. Without room for it
    answers are followed less far."""
    base = done.one(Fetched).base
    jobs = [(target, job_of(plan, target, base, tools.templates)) for target in targets]
    footprints = [
        (target, target.policy.format.footprint(job))
        for target, job in jobs
        if are_installed(target.policy.format.modules)
    ]
    chosen = draft_target(base, plan.run.path, footprints)
    if chosen is None or chosen in plan.targets:
        return
    footprint = next(needed for target, needed in footprints if target == chosen)
    try:
        check_room(drafts, footprint.disk, f"the {chosen.name} export, which drafts answers,")
    except ReleaseError as error:
        tools.console.note(f"answers are not drafted as on one machine: {error}")
        return
    own = replace(chosen, export_dir=drafts / chosen.export_dir.name)
    yield from steps.export_targets(plan, (own,), done.plus([Fitting(target=own, footprint=footprint)]), tools)


def _keep(plan: Plan, target: Target, done: Results, tools: Tools, *, work: UnitWork) -> Iterator[object]:
    exported, sent = done.for_target(Exported, target), done.find(Sent, target)
    # What it is made from, as it was read for it and as it is now: it may have changed in between.
    for state in (exported.manifest.model, disk_state(plan.config, target.run.path).document()):
        check_model(work.planned, state, f"what {target.name} was made of")
    result = UnitResult(
        plan=work.planned.digest,
        digest=work.unit.digest,
        tagship=tool_version(),
        manifest=file_entry(exported.folder, MANIFEST_FILE),
        sizes=sizes_of(plan, done, tools.templates),
        answers=answers_digest(done.one(Answered).trial.answers),
        sent=tuple(sorted(sent.paths)) if sent else (),
    )
    with results_scratch(target.export_dir.parent) as scratch:
        put_result(work.store, result, exported.folder, scratch)
    tools.console.note(f"{target.name}: {work.unit.digest[:10]}, {done.for_target(Verified, target).evidence.outcome}")
    return iter(())
