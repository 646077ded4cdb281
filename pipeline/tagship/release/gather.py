"""The units of a release, gathered: every result checked, and published as if one machine had made them all."""

import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.manifest import MANIFEST_FILE, Manifest, write_manifest
from tagship.hub.fetch import fetch_base, locate_base
from tagship.release import gates, steps
from tagship.release.agreement import answers_differ, check_agreement, check_claims
from tagship.release.export_store import claims_of, forget
from tagship.release.plan import Plan
from tagship.release.planned import Planned, Unit, check_model
from tagship.release.publishing import unless_base_is_published
from tagship.release.result_store import ResultStore
from tagship.release.results import Exported, Fetched, Results, Sent, Sized, Verified
from tagship.release.step import EXPORTS, Step, Tools
from tagship.release.targets import Target
from tagship.release.unit_results import Found, failure_of, find_result, has_result, results_scratch
from tagship.system.called import called
from tagship.system.console import Console
from tagship.system.errors import ReleaseError
from tagship.system.files import files_below, link_file, new_folder
from tagship.system.templating import human_size


class Gathering(Struct, frozen=True, kw_only=True):
    """A plan's document, and where the results of its units are."""

    planned: Planned
    store: ResultStore


class _Missing(Struct, frozen=True, kw_only=True):
    unit: Unit
    target: Target
    why: str
    remedy: str | None


def gathering_steps(gathering: Gathering) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """What is done with results that are there, of a plan whose targets have them: what shows that all is as it should
    be, and what publishes it. Of several runs nothing is published before all have been looked at."""
    together = steps.as_task(
        steps.GATES,
        Step(name="results", title="Results", once=partial(_collect, gathering=gathering), writes=(EXPORTS,)),
        steps.NOTES,
        Step(name="base", title="Base model", once=_base),
        steps.ROOM,
        steps.CARD,
        steps.REPOS,
        steps.SEAL,
        steps.PACKAGE,
        steps.PUBLISH_BASE,
        steps.PUBLISH,
        steps.PUSH,
        steps.CHECK,
        steps.SUCCEED,
        steps.COLLECT,
        steps.ANNOUNCE,
    )
    first = [step.name for step in together].index(steps.CARD.name)
    return together[:first], together[first:]


def as_far_as_done(plans: Sequence[tuple[Gathering, Plan]], console: Console) -> list[tuple[Gathering, Plan]]:
    """The plans with the targets that have results, where the policy lets a release be partial; one of which there is
    nothing is left out. Raises ReleaseError that names every unit that has none, and why, where it does not; and where
    none has any."""
    missing = [each for gathering, plan in plans for each in _missing(gathering, plan)]
    if not missing:
        return list(plans)
    of_runs = len(plans) > 1
    listed = "".join(
        f"\n  {each.unit.index} {each.unit.name}{f' of {each.target.run.name}' * of_runs}: {each.why}"
        for each in missing
    )
    what = f"{len(missing)} of {sum(len(plan.targets) for _, plan in plans)} units are not done:{listed}"
    # A repo that several share is whole or left out: a published version is never completed.
    repos = {each.target.repo_id for each in missing}
    left = [(gathering, _without(plan, repos)) for gathering, plan in plans]
    left = [(gathering, plan) for gathering, plan in left if plan.targets]
    if not left or not left[0][1].config.release.partial:
        raise ReleaseError(f"{what}\nnothing was published", remedy=_remedy(plans[0][0], missing))
    gone = [target for _, plan in plans for target in plan.targets if target.repo_id in repos]
    with_them = [target.name for target in gone if not any(target is each.target for each in missing)]
    if with_them:
        what += f"\n{', '.join(with_them)} would share a repo with them, and are left out, too"
    console.warn(what, "[release] partial is true, so the others are published, and say so")
    return left


def _without(plan: Plan, repos: Collection[str]) -> Plan:
    """A plan without what would go to these repos."""
    return replace(
        plan,
        targets=tuple(target for target in plan.targets if target.repo_id not in repos),
        family=tuple(target for target in plan.family if target.repo_id not in repos),
        missing=tuple(target.name for target in plan.targets if target.repo_id in repos),
    )


def _missing(gathering: Gathering, plan: Plan) -> Iterator[_Missing]:
    with results_scratch(plan.config.exports) as scratch:
        for unit, target in zip(gathering.planned.units, plan.targets, strict=True):
            if has_result(gathering.store, unit):
                continue
            failed = failure_of(gathering.store, unit, scratch)
            yield _Missing(
                unit=unit,
                target=target,
                why=failed.error if failed else "it has no result",
                remedy=failed.remedy if failed else None,
            )


def _remedy(gathering: Gathering, missing: list[_Missing]) -> str:
    own = next((each.remedy for each in missing if each.remedy), None)
    work = f"{called()} work --plan {shlex.quote(str(gathering.planned.file))} --index"
    again = "; ".join(f"{work} {each.unit.index}" for each in missing[:3])
    return f"{own}; then {again}" if own else again


def _collect(plan: Plan, done: Results, tools: Tools, *, gathering: Gathering) -> Iterator[object]:
    """Every result, checked by itself and against the others, and only then put under its export's name."""
    with ExitStack() as stack:
        found: list[tuple[Target, Found]] = []
        for unit, target in _wanted(gathering.planned, plan):
            scratch = stack.enter_context(results_scratch(target.export_dir.parent))
            with tools.console.working(f"checking the result of {unit.name}"):
                result = find_result(gathering.store, gathering.planned, unit, scratch)
            if result is None:
                raise ReleaseError(f"the result of {unit.name} is gone", remedy="run the same command again")
            check_claims(plan, target, result.manifest)
            check_model(gathering.planned, result.manifest.model, f"what {target.name} was made of")
            found.append((target, result))
        check_agreement(found)
        if answers_differ(found):
            tools.console.warn(
                "the units were held against answers of base + adapter that differ in some tokens",
                "machines of one kind find the same ones; each export is measured against its own",
            )
        for target, result in found:
            manifest = _put_in_place(plan, target, result)
            tools.console.note(f"{target.name}: {target.export_dir} ({human_size(manifest.size)})")
            yield Exported(target=target, folder=target.export_dir, manifest=manifest)
            if manifest.evidence is not None:
                yield Verified(target=target, evidence=manifest.evidence)
            if result.result.sent:
                yield Sent(target=target, paths=frozenset(result.result.sent))
        yield Sized(sizes=found[0][1].result.sizes)


def _wanted(planned: Planned, plan: Plan) -> Iterator[tuple[Unit, Target]]:
    by_name = {unit.name: unit for unit in planned.units}
    return ((by_name[target.name], target) for target in plan.targets)


def _put_in_place(plan: Plan, target: Target, found: Found) -> Manifest:
    """The export under its name, with a manifest that says what is released with it."""
    manifest = replace(found.manifest, **claims_of(plan, target))
    with new_folder(target.export_dir) as folder:
        for path in files_below(found.export):
            name = path.relative_to(found.export).as_posix()
            if name != MANIFEST_FILE:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                link_file(path, folder / name)
        write_manifest(folder, manifest)
    forget(plan, target)  # what made an export of that name here says nothing of this one
    return manifest


def _base(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """The base as units had it: what describes it, as cards need no more; all of it where it is published."""
    base = plan.base
    if base.path is None:
        base = replace(base, revision=done.of(Exported)[0].manifest.base_revision)
    located = locate_base(base, tools.hub)
    if unless_base_is_published(plan):
        located = located.described
    gates.check_base(located)
    yield Fetched(base=fetch_base(located, tools.console.bytes))
