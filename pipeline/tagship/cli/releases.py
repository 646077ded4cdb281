"""The verbs that make a release, whole or in parts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tagship.artifacts.manifest import Manifest, manifests_below, read_manifest
from tagship.cli.reports import plan_table, release_document, release_table
from tagship.cli.session import Document, Session
from tagship.release import steps
from tagship.release.export_store import job_of
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Exported, Fetched, Published
from tagship.release.runner import Finished, run_steps
from tagship.release.step import Step, open_tools
from tagship.release.units import matrix as matrix_of
from tagship.release.units import plan_document
from tagship.system.console import Console
from tagship.system.errors import NothingToDo, ReleaseError
from tagship.system.templating import Templates


def plan(session: Session, *, units: bool = False, matrix: bool = False) -> Document:
    """What a release would do; with all that its `units` need to be done elsewhere, and these as a `matrix` of jobs on
    standard output."""
    try:
        made = session.plan()
    except NothingToDo:
        if matrix:
            print(matrix_of({"units": []}))
        raise
    show_plan(session.console, made)
    if not (units or matrix):
        return made.document()
    document = plan_document(made, session.options, session.templates, reads=True)
    if matrix:
        print(matrix_of(document))
    return document


def release(session: Session) -> Document:
    """The main job."""
    return _run(session, session.plan(), steps.RELEASE)


def export(session: Session) -> Document:
    """One or more formats, exported."""
    return _run(session, session.plan(), steps.EXPORT_ONLY)


def on_exports(session: Session, path: str | None, chosen: Sequence[Step]) -> Document:
    """A part of a release on exports that are there: those at `path`, of the tag, or the newest."""
    return _run(session, _plan_of_exports(session, path), chosen)


def _run(session: Session, made: Plan, chosen: Sequence[Step]) -> Document:
    console = session.console
    show_plan(console, made)
    with open_tools(made, session.repository, console) as tools:
        finished = run_steps(chosen, made, tools)
    if finished.results.of(Fetched):
        show_result(console, made, finished, tools.templates)
    return release_document(made, finished)


def show_plan(console: Console, made: Plan) -> None:
    version_tag = made.version_tag
    if made.stream and version_tag:
        console.step(f"Tagged release detected: {version_tag.name}")
    for other in made.passed_over:
        why = "the order of [tags] decides" if version_tag else "it is not of these formats: names have the time"
        console.note(f"{other.name} is on this commit too; {why} (--tag {other.name} releases it)")
    runs = list(dict.fromkeys(target.run.name for target in made.targets))
    what = f"{' and '.join(runs[:1] + ([f'{len(runs) - 1} more'] if runs[1:] else []))} → " + (
        f"{version_tag.name} (version {version_tag.version})" if version_tag else "no tag"
    )
    console.step("Plan", what)
    console.note(f"base model {made.base.id}; commit {made.commit.sha[:10]}; Hub {made.endpoint}")
    console.show(plan_table(made))


def show_result(console: Console, made: Plan, finished: Finished, templates: Templates) -> None:
    base = finished.results.one(Fetched).base
    use_lines = {
        target.export_dir: target.policy.format.use_line(
            job_of(made, target, base, templates),
            [entry.path for entry in finished.results.for_target(Exported, target).manifest.files],
        )
        for target in made.targets
    }
    console.step("Done")
    console.show(release_table(made, finished, use_lines))
    if made.embedded and finished.results.of(Published):
        console.note("It is on the embedded Hub: `invoke hub` opens it, and HF_ENDPOINT leads any client to it.")


def _plan_of_exports(session: Session, path: str | None) -> Plan:
    """The plan whose exports are on disk already: their manifests say which it was."""
    config, options = session.config, session.options
    if path is not None:
        folder = Path(path).absolute()
        made = make_plan(config, _options_of(options, read_manifest(folder), folder), session.repository, session.now)
        return replace(made, targets=(replace(made.targets[0], export_dir=folder),))
    made = session.plan()
    if made.tag is not None or options.at is not None:
        return made
    newest = _newest_export(made)
    return make_plan(config, replace(options, at=newest.exported), session.repository, session.now)


def _options_of(options: Options, manifest: Manifest, folder: Path) -> Options:
    return replace(
        options,
        tag=manifest.tag,
        run=options.run or manifest.run,
        formats=(manifest.format,),
        quants=(manifest.quant,) if manifest.quant else (),
        at=manifest.exported,
        output=folder.parent,
    )


def _newest_export(made: Plan) -> Manifest:
    """The newest export of the plan's run and formats."""
    folder = made.targets[0].export_dir.parent
    wanted = {(target.policy.name, target.variant.quant) for target in made.targets}
    fitting = [
        manifest
        for manifest in manifests_below(folder)
        if manifest.run == made.run.name and manifest.tag is None and (manifest.format, manifest.quant) in wanted
    ]
    if not fitting:
        raise ReleaseError(
            f"there is no export of {made.run.name} in {folder}",
            remedy="make one with invoke export, or name it with --path",
        )
    return max(fitting, key=lambda manifest: manifest.exported)
