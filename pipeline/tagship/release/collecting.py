"""The step that puts what was released into the Collection of its model on the Hub, where the policy wants one."""

from collections.abc import Iterator, Sequence

from tagship.hub.collections import collect
from tagship.release.plan import Plan
from tagship.release.publishing import unless_published
from tagship.release.results import Results
from tagship.release.step import Tools
from tagship.release.targets import Target, by_repo
from tagship.runs.run import Run
from tagship.system.errors import ReleaseError


def collect_repos(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Have the model's collection hold the repos. The release is there by now: what fails is only warned of."""
    title = _title(plan.run)
    repos = {repo_id: _note(plan, targets) for repo_id, targets in by_repo(plan.targets).items()}
    try:
        slug, added = collect(tools.hub, plan.config.namespace, title, repos, private=plan.private)
    except ReleaseError as error:
        tools.console.warn(f"the collection {title} does not have this release: {error}", error.remedy)
        return iter(())
    tools.console.note(f"{slug}: {', '.join(added) if added else 'has them already'}")
    return iter(())


def unless_collected(plan: Plan) -> str | None:
    if reason := unless_published(plan):
        return reason
    if not plan.config.collects:
        return "[hub] collection is off"
    if plan.proposes:
        return "nothing is released before it is merged"
    return None if plan.stream else "no version"


def _title(run: Run) -> str:
    """What all versions of a model have in common: base and data, where they are known."""
    return "-".join(str(run.fields[field]) for field in ("base", "dataset") if field in run.fields) or run.name


def _note(plan: Plan, targets: Sequence[Target]) -> str:
    """What a repo holds; with the version where it has but one."""
    names = ", ".join(target.name for target in targets)
    return names if plan.config.tags_versions else f"{names}, {plan.version}"
