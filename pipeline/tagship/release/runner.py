"""Runs steps in order: it owns titles, timing and skipping, so that a step only does its work."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from msgspec import Struct

from tagship.release.executors.here import Here
from tagship.release.executors.protocol import Executor
from tagship.release.plan import Plan
from tagship.release.results import Results
from tagship.release.step import Step, Tools, Work, groups_of


class Finished(Struct, frozen=True, kw_only=True):
    """What a run of steps made.

    `seconds` is by step, `target_seconds` by export folder and step, where targets that were done together have each
    the same share of the time that it took for all of them; `skipped` holds the reasons.
    """

    results: Results
    seconds: dict[str, float]
    target_seconds: dict[Path, dict[str, float]]
    skipped: dict[str, str]


def run_steps(
    steps: Sequence[Step],
    plan: Plan,
    tools: Tools,
    executor: Executor | None = None,
    *,
    before: Finished | None = None,
) -> Finished:
    """Run the steps over a plan, after what those `before` made. What they do to targets and can be done elsewhere is
    done by the executor; without one it is done here. What a step raises ends the run; nothing after it is done."""
    here = Here()
    executor = executor or here
    before = before or Finished(results=Results(), seconds={}, target_seconds={}, skipped={})
    done = before.results
    seconds = dict(before.seconds)
    target_seconds = defaultdict(dict, {folder: dict(took) for folder, took in before.target_seconds.items()})
    skipped = dict(before.skipped)
    for step in steps:
        if reason := step.skip(plan):
            skipped[step.name] = reason
            tools.console.step(step.title, f"skipped: {reason}")
            continue
        tools.console.step(step.title, folds=True)
        began = monotonic()
        with tools.console.working(step.title):
            if step.once:
                done = done.plus(step.once(plan, done, tools))
            groups = groups_of(step, plan)
            # Where they are taken one by one, as here, each has what came of those before it.
            works = (Work(step=step, plan=plan, targets=targets, done=done) for targets in groups)
            made_by = executor if step.portable else here
            for targets, made in zip(groups, made_by.run(works, tools), strict=True):
                done = done.plus(made.results)
                for target in targets:
                    target_seconds[target.export_dir][step.name] = round(made.seconds / len(targets), 3)
        seconds[step.name] = round(monotonic() - began, 3)
    return Finished(results=done, seconds=seconds, target_seconds=dict(target_seconds), skipped=skipped)
