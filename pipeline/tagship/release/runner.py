"""Runs steps in order: it owns titles, timing and skipping, so that a step only does its work."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tagship.hub.connection import Hub
from tagship.release.plan import Plan
from tagship.release.results import Results
from tagship.release.targets import Target
from tagship.system.console import Console
from tagship.system.git import Repository
from tagship.system.templating import Templates
from tagship.verify.runtimes.processes import Runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The effects that steps use, given from outside."""

    repository: Repository
    hub: Hub
    runtimes: Runtimes
    console: Console
    templates: Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a release: `once` runs for the whole plan, `each` for every target, `together` for all
    targets of one format at a time.

    All take what earlier steps returned and give what later ones select from. `skip` gives the
    reason why a plan does not need the step, or None.
    """

    name: str
    title: str
    once: Callable[[Plan, Results, Tools], Iterable[object]] | None = None
    each: Callable[[Plan, Target, Results, Tools], Iterable[object]] | None = None
    together: Callable[[Plan, Sequence[Target], Results, Tools], Iterable[object]] | None = None
    skip: Callable[[Plan], str | None] = lambda plan: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a run of steps made.

    `seconds` is by step, `target_seconds` by export folder and step, where targets that were done
    together have the time that it took for all of them; `skipped` holds the reasons.
    """

    results: Results
    seconds: dict[str, float]
    target_seconds: dict[Path, dict[str, float]]
    skipped: dict[str, str]


def run_steps(steps: Sequence[Step], plan: Plan, tools: Tools) -> Finished:
    """Run the steps over a plan. What a step raises ends the run; nothing after it is done."""
    done = Results()
    seconds: dict[str, float] = {}
    target_seconds: dict[Path, dict[str, float]] = defaultdict(dict)
    skipped: dict[str, str] = {}
    for step in steps:
        if reason := step.skip(plan):
            skipped[step.name] = reason
            tools.console.step(step.title, f"skipped: {reason}")
            continue
        tools.console.step(step.title)
        began = monotonic()
        if step.once:
            done = done.plus(step.once(plan, done, tools))
        for targets in _groups(step, plan):
            began_group = monotonic()
            if step.each:
                done = done.plus(step.each(plan, targets[0], done, tools))
            if step.together:
                done = done.plus(step.together(plan, targets, done, tools))
            for target in targets:
                target_seconds[target.export_dir][step.name] = round(monotonic() - began_group, 3)
        seconds[step.name] = round(monotonic() - began, 3)
    return Finished(results=done, seconds=seconds, target_seconds=dict(target_seconds), skipped=skipped)


def _groups(step: Step, plan: Plan) -> list[list[Target]]:
    """The targets that a step does at a time."""
    if step.each:
        return [[target] for target in plan.targets]
    by_format: dict[str, list[Target]] = defaultdict(list)
    for target in plan.targets if step.together else ():
        by_format[target.policy.name].append(target)
    return list(by_format.values())
