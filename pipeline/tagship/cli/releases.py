"""The verbs that make a release, whole or in parts."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from tagship.artifacts.manifest import Manifest, manifests_below, read_manifest
from tagship.cli.reports import plan_lines, release_document, release_rows
from tagship.cli.session import Document, Session
from tagship.formats.shared_parts import FoundTypes
from tagship.hub.served import SERVED
from tagship.naming.clock import MOMENT_FORMAT
from tagship.policy.versions import OFF
from tagship.release import steps
from tagship.release.jobs import job_of
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Exported, Fetched, Published, Shared
from tagship.release.runner import Finished, run_steps
from tagship.release.step import Step, open_tools
from tagship.release.targets import Target, by_repo
from tagship.release.units import RUNS, check_apart, plan_document, runs_document
from tagship.release.units import matrix as matrix_of
from tagship.runs.base import HUGGING_FACE
from tagship.runs.base_folder import check_is_there
from tagship.system.called import called
from tagship.system.console import Console
from tagship.system.errors import NothingToDo, ReleaseError
from tagship.system.git_objects import Commit
from tagship.system.shown import masked
from tagship.system.templating import Templates


def plan(session: Session, *, units: bool = False, matrix: bool = False) -> Document:
    """What a release would do; with all that its `units` need to be done elsewhere, and these as a `matrix` of jobs on
    standard output."""
    try:
        plans = session.plans()
    except NothingToDo:
        if matrix:
            print(matrix_of({"units": []}))
        raise
    check_apart(plans)
    for made in plans:
        show_plan(session.console, made)
        if made.base.path is not None:
            try:
                check_is_there(made.base, made.base.path)
            except ReleaseError as error:  # no mistake of a plan, whose units may be done where it is
                session.console.note(f"{error}; {error.remedy}")
    if not (units or matrix):
        return plans[0].document() if len(plans) == 1 else {RUNS: [made.document() for made in plans]}
    documents = [plan_document(made, session.options, session.templates, reads=True) for made in plans]
    document = documents[0] if len(documents) == 1 else runs_document(documents)
    if matrix:
        print(matrix_of(document))
    return document


def shown(session: Session) -> Document:
    """What a task would do with all runs at once, as `plan` shows it."""
    made = session.plan()
    show_plan(session.console, made)
    return made.document()


def release(session: Session) -> Document:
    """The main job."""
    return _run(session, session.plan(), steps.RELEASE)


def export(session: Session) -> Document:
    """One or more formats, exported."""
    return _run(session, session.plan(), steps.EXPORT_ONLY)


def imatrix(session: Session) -> Document:
    """The importance matrix that the GGUFs of a run are weighed by, made where it is not there."""
    made = session.plan()
    if not any(map(_shares, made.targets)):
        given = {**session.options.of_formats, "imatrix": "make"}
        made = replace(session, options=replace(session.options, of_formats=given)).plan()
    # As if types of tensors were known, which are found by more than a matrix.
    known = FoundTypes(tensors={}, record={})
    made = replace(made, targets=tuple(replace(target, found=known) for target in made.targets if _shares(target)))
    with open_tools(made, session.repository, session.console) as tools:
        finished = run_steps(steps.SHARE_ONLY, made, tools)
    files = [str(path) for shared in finished.results.of(Shared) for path in sorted(shared.folder.iterdir())]
    session.console.note(", ".join(files))
    return {"run": made.run.name, "imatrix": files, "seconds": finished.seconds}


def _shares(target: Target) -> bool:
    return any(not part.finds for part in target.policy.format.shares(target.policy.settings, target.variant))


def on_exports(session: Session, path: str | None, chosen: Sequence[Step]) -> Document:
    """A part of a release on exports that are there: those at `path`, of the tag, or the newest."""
    return _run(session, _plan_of_exports(session, path), chosen)


def _run(session: Session, made: Plan, chosen: Sequence[Step]) -> Document:
    console = session.console
    show_plan(console, made)
    with going_on(made), open_tools(made, session.repository, console) as tools:
        finished = run_steps(chosen, made, tools)
    if finished.results.of(Fetched):
        show_result(console, made, finished, tools.templates)
    return release_document(made, finished)


@contextmanager
def going_on(made: Plan) -> Iterator[None]:
    """Have what stops a release tell its time, in a note: where there is no tag names have it, and the same command
    would have another one."""
    try:
        yield
    except (KeyboardInterrupt, ReleaseError, OSError) as stopped:
        if made.version_tag is None:
            stopped.add_note(f"--at {made.moment.strftime(MOMENT_FORMAT)}")
        raise


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
    by = " (as HF_ENDPOINT says)" if os.environ.get("HF_ENDPOINT", "").rstrip("/") == made.endpoint else ""
    console.note(f"base model {made.base.id}; commit {made.commit.sha[:10]}; Hub {made.endpoint}{by}")
    for name, paths in plan_lines(made):
        console.note(name)
        for path in paths:
            console.note(path, depth=2)


def show_result(console: Console, made: Plan, finished: Finished, templates: Templates) -> None:
    console.step("Done")
    console.rows(release_rows(made, finished))
    if finished.results.of(Published):
        console.step("Use", f"{called()} hub opens the embedded Hub; then, in another shell" if made.embedded else "")
        for line in _use_lines(made, finished, templates):
            console.line(line)


def _use_lines(made: Plan, finished: Finished, templates: Templates) -> Iterator[str]:
    """The lines that use what was published. Programs that fetch from the real Hub alone find nothing of the embedded
    one: from there it is fetched."""
    if made.embedded:
        yield f"export HF_ENDPOINT={SERVED}"
        revision = f" --revision {made.version_tag.name}" if made.version_tag and made.config.tags_versions else ""
        yield from (f"hf download {repo_id}{revision}" for repo_id in by_repo(made.targets))
        return
    if made.endpoint != HUGGING_FACE:
        yield f"export HF_ENDPOINT={masked(made.endpoint)}"
    base = finished.results.one(Fetched).base
    for target in made.targets:
        files = [entry.path for entry in finished.results.for_target(Exported, target).manifest.files]
        yield target.policy.format.use_line(job_of(made, target, base, templates), files)


def _plan_of_exports(session: Session, path: str | None) -> Plan:
    """The plan whose exports are on disk already: their manifests say which it was."""
    if path is not None:
        return _plan_at(session, Path(path).absolute())
    made = session.plan()
    if made.tag is None and session.options.at is None:
        options = replace(session.options, at=_newest_export(made).exported)
        made = make_plan(session.config, options, session.repository, session.now)
    return _as_exported(session, made)


def _plan_at(session: Session, folder: Path) -> Plan:
    """The plan that the export in a folder was made by, wherever HEAD is now."""
    manifest = read_manifest(folder)
    options = _options_of(session.options, manifest, folder)
    made = make_plan(session.config, options, session.repository, session.now)
    commit = made.tag.commit if made.tag else Commit(sha=manifest.commit, time=made.moment)
    if made.tag and commit != made.commit:
        # What is checked out is another commit's: its tree and its changelog tell nothing of the tag.
        checks = replace(made.config.checks, said={**made.config.checks.said, "clean": OFF, "changelog": OFF})
        made = replace(made, config=replace(made.config, checks=checks))
    return replace(made, commit=commit, targets=(replace(made.targets[0], export_dir=folder),))


def _as_exported(session: Session, made: Plan) -> Plan:
    """A plan with those of its exports that are there. Raises ReleaseError where none is, or none of a format or a
    quantization type that was asked for."""
    there = tuple(target for target in made.targets if target.export_dir.exists())
    options = session.options
    asked = [*options.formats, *(quant.lower() for quant in options.quants)]
    found = {name for target in there for name in (target.policy.name, target.variant.quant)}
    lacking = next((name for name in asked if name not in found), None)
    if lacking or not there:
        raise _no_export(made, lacking)
    missing = [target.name for target in made.targets if target not in there]
    if missing:
        at = "" if made.version_tag else f" at {made.moment.strftime(MOMENT_FORMAT)}"
        session.console.note(f"left out, as it was not exported{at}: {', '.join(missing)}")
    return replace(made, targets=there, family=made.family if made.version_tag else there)


def _no_export(made: Plan, lacking: str | None) -> ReleaseError:
    of = " of ".join(filter(None, (lacking, made.run.name)))
    version = f" at {made.version_tag.name}" if made.version_tag else ""
    return ReleaseError(
        f"there is no export of {of}{version} in {made.targets[0].export_dir.parent}",
        remedy=f"make one with {called()} export, or name it with --path",
    )


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
        raise _no_export(made, None)
    return max(fitting, key=lambda manifest: manifest.exported)
