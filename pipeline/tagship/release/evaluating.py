"""The project's own task: what the base, base + adapter, every export and the last release score, and whether that may
be released."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tagship.evaluation.cases import Case, read_cases
from tagship.evaluation.regressions import check_regression
from tagship.evaluation.results import Evaluation, from_document, score_answers, to_document
from tagship.hub.failures import status_of
from tagship.hub.repository import published_manifest
from tagship.policy.evaluate import EvaluatePolicy
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.results import Evaluated, Exported, Fetched, Noted, Results
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.release.trained import base_alone, drafting, export_model, follow, is_small, reference_model
from tagship.release.version_before import repos_before
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.evidence import BASE, EXPORT, TRAINED
from tagship.verify.questions import Questions
from tagship.verify.runtimes.registry import find_runtime

# What a Hub answers of a repo or a tag that it does not have.
_NOT_THERE = 404


def unless_evaluated(plan: Plan) -> str | None:
    return None if plan.config.evaluate else "no [evaluate]"


def check_task_file(plan: Plan) -> None:
    """Raise ReleaseError for cases that cannot be read, before anything is exported."""
    if plan.config.evaluate:
        _cases(plan.config.evaluate)


def evaluate_trained(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Score base + adapter, and the base alone where it is small enough to answer by itself."""
    policy, base = _policy(plan), done.one(Fetched).base
    cases = _cases(policy)
    questions = _questions(plan, cases)
    with (
        tools.console.working("base + adapter does the task"),
        drafting(plan, done, tools, questions) as drafter,
    ):
        answers = follow(done, reference_model(plan, base, tools), drafter, questions)
        trained = _scored(policy, "base + adapter", cases, [answer.text for answer in answers])
    tools.console.note(trained.summary)
    untrained = None
    if is_small(done):
        with (
            tools.console.working("the base does the task"),
            drafting(plan, done, tools, questions) as drafter,
            base_alone(plan, base, tools) as alone,
        ):
            answers = follow(done, alone, drafter, questions)
        untrained = _scored(policy, "the base", cases, [answer.text for answer in answers])
        tools.console.note(untrained.summary)
    yield Evaluated(base=untrained, trained=trained)


def evaluate_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Mapping[str, Any] | None:
    """What an export scores beside the model that was trained, as the evidence keeps it; None where there is no task.

    Raises ReleaseError that names the cases, where it is worse than base + adapter, or than the last release, by more
    than the policy allows.
    """
    if not done.of(Evaluated):
        return None
    policy, known = _policy(plan), done.one(Evaluated)
    exported = _of_export(plan, target, done, tools)
    if exported is None:
        return _documents({BASE: known.base, TRAINED: known.trained})
    check_regression(known.trained, exported, policy.max_regression)
    if (last := _of_the_last_release(plan, target, done, tools)) is not None:
        changed = check_regression(last, exported, policy.max_regression)
        if not changed.compared:
            tools.console.note(f"{target.name}: the last release was asked none of these cases")
    return _documents({BASE: known.base, TRAINED: known.trained, EXPORT: exported})


def _of_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Evaluation | None:
    policy, base, form = _policy(plan), done.one(Fetched).base, target.policy.format
    exported = done.for_target(Exported, target)
    job, runtime, cases = job_of(plan, target, base, tools.templates), find_runtime(form.runtime), _cases(policy)
    if form.check_copy(job, exported.folder):
        trained = done.one(Evaluated).trained
        return Evaluation(task=trained.task, model=target.name, max_tokens=trained.max_tokens, cases=trained.cases)
    if not (runtime.generates or runtime.runs_adapters):
        tools.console.note(f"{target.name}: {runtime.name} writes no answers, so that it is not scored")
        return None
    questions = _questions(plan, cases)
    with (
        tools.console.working(f"{target.name} does the task"),
        export_model(plan, target, done, tools, questions) as (_, model),
    ):
        if runtime.generates:
            asked = model.read(questions)
            texts = [model.text(ids) for ids in model.generate([each.ids for each in asked], questions.max_tokens)]
        else:
            with drafting(plan, done, tools, questions) as drafter:
                texts = [answer.text for answer in follow(done, model, drafter, questions)]
    evaluation = _scored(policy, target.name, cases, texts)
    tools.console.note(evaluation.summary)
    return evaluation


def _of_the_last_release(plan: Plan, target: Target, done: Results, tools: Tools) -> Evaluation | None:
    """What the last version that was published and scored has of it, by its manifest on the Hub; None where nothing is
    known of one. Tags alone do not tell: a version that was refused has one, too."""
    noted = next(iter(done.of(Noted)), None)
    for tag, repo_id in repos_before(plan, target, noted, tools.repository):
        try:
            manifest = published_manifest(tools.hub, repo_id, tag)
            same = [part for part in manifest.each() if part.quant == target.variant.quant] if manifest else []
            shown = same[0].shown() if same else None
            document = (shown.evaluation or {}).get(EXPORT) if shown else None
            if document:
                return replace(from_document(document), model=f"{target.name} of {tag}")
        except ToolError as error:
            if status_of(error) != _NOT_THERE:
                tools.console.note(f"{target.name}: not compared with what {tag} scored: {error}")
                return None
        except ReleaseError as error:
            tools.console.warn(f"{target.name}: not compared with what {tag} scored: {error}", error.remedy)
            return None
    return None


def _policy(plan: Plan) -> EvaluatePolicy:
    assert plan.config.evaluate is not None
    return plan.config.evaluate


def _cases(policy: EvaluatePolicy) -> tuple[Case, ...]:
    return read_cases(policy.file, policy.scoring)


def _questions(plan: Plan, cases: tuple[Case, ...]) -> Questions:
    prompts = tuple(case.prompt for case in cases)
    return Questions(prompts=prompts, max_tokens=_policy(plan).max_tokens, moment=plan.moment)


def _scored(policy: EvaluatePolicy, model: str, cases: tuple[Case, ...], texts: list[str]) -> Evaluation:
    points = score_answers(cases, texts, policy.scoring)
    return Evaluation(task=policy.name, model=model, max_tokens=policy.max_tokens, cases=points)


def _documents(evaluations: Mapping[str, Evaluation | None]) -> dict[str, Any]:
    return {name: to_document(evaluation) for name, evaluation in evaluations.items() if evaluation}
