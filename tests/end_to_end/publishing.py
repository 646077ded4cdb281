"""A release without its longest part: nothing is verified, and its evidence says so."""

from typing import Any

from msgspec.structs import replace
from tagship.artifacts.manifest import with_evidence, write_manifest
from tagship.cli.reports import release_document
from tagship.cli.session import open_session
from tagship.release import steps
from tagship.release.options import Options
from tagship.release.results import Exported, Verified
from tagship.release.runner import run_steps
from tagship.release.step import Step, open_tools
from tagship.system.console import Console
from tagship.verify.evidence import Evidence

from tests.end_to_end.conftest import Project


def _unverified(plan: Any, target: Any, done: Any, tools: Any) -> Any:
    """What verifying leaves, without running any model."""
    exported = done.for_target(Exported, target)
    evidence = Evidence(outcome="untested", why="no model was run", date=plan.moment.isoformat())
    manifest = with_evidence(exported.manifest, evidence)
    write_manifest(exported.folder, manifest)
    yield replace(exported, manifest=manifest)
    yield Verified(target=target, evidence=evidence)


_UNVERIFIED = Step(name="unverified", title="Nothing is verified", each=_unverified)
_LEFT_OUT = ("names", "examine", "reference", "task", "package")


def publish(project: Project, *, between: Step | None = None, **options: Any) -> Any:
    """Release a project as `invoke release` does, but for verifying and archives, and with another step after the
    commit; returns the task's document."""
    chosen: list[Step] = []
    for step in steps.RELEASE:
        if step.name not in _LEFT_OUT:
            chosen.append(_UNVERIFIED if step.name == "verify" else step)
        if step.name == "publish" and between:
            chosen.append(between)
    console = Console(interactive=False)
    with open_session(str(project.folder / "release.toml"), Options(**options), console) as session:
        plan = session.plan()
        with open_tools(plan, session.repository, console) as tools:
            return release_document(plan, run_steps(steps.as_task(*chosen), plan, tools))
