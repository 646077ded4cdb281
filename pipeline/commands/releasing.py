"""The verbs, as functions: options in, a document out; what people read goes to the console."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import steps
from pipeline.artifacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from pipeline.config import Config, load_config
from pipeline.console import Console
from pipeline.errors import ReleaseError, UsageError
from pipeline.exporting import job_of
from pipeline.git import Repository
from pipeline.hub.connection import open_hub
from pipeline.naming.tag import read_tag
from pipeline.plan import Options, Plan, make_plan
from pipeline.reports import plan_table, release_document, release_table
from pipeline.results import Fetched, Published
from pipeline.runner import Finished, Step, Tools, run_steps
from pipeline.runs.run import find_runs, read_run
from pipeline.templating import Templates
from pipeline.verify.runtime import Runtimes

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a verb works with: the policy, the repository, the options, the clock, the console."""

    config: Config
    repository: Repository
    options: Options
    now: datetime
    console: Console

    def plan(self) -> Plan:
        return make_plan(self.config, self.options, self.repository, self.now)


@contextmanager
def open_session(config_file: str | None, options: Options, console: Console) -> Iterator[Session]:
    """Read release.toml and open its repository. Raises UsageError, ReleaseError."""
    config = load_config(Path(config_file or "release.toml").absolute())
    with Repository(config.root) as repository:
        yield Session(config=config, repository=repository, options=options, now=_now(), console=console)


def plan(session: Session) -> Document:
    """What a release would do."""
    made = session.plan()
    _show_plan(session.console, made)
    return made.document()


def release(session: Session) -> Document:
    """The main job."""
    return _run(session, session.plan(), steps.RELEASE)


def export(session: Session) -> Document:
    """One or more formats, exported."""
    return _run(session, session.plan(), steps.EXPORT_ONLY)


def on_exports(session: Session, path: str | None, chosen: Sequence[Step]) -> Document:
    """A part of a release on exports that are there: those at `path`, of the tag, or the newest."""
    return _run(session, _plan_of_exports(session, path), chosen)


def version(session: Session) -> Document:
    """The version that a tag carries."""
    if session.options.tag is None:
        raise UsageError("which tag?", remedy="invoke version --tag v1.0.0")
    tag = read_tag(session.options.tag, session.config.streams)
    return {"tag": tag.name, "version": tag.version, "stream": tag.stream, "does": list(tag.does)}


def runs(session: Session) -> list[Document]:
    """Training runs found, newest first."""
    listed: list[Document] = []
    for path in find_runs(session.config.runs, session.config.run_pattern):
        try:
            run = read_run(path, session.config.run_pattern)
        except ReleaseError as error:
            listed.append({"run": path.name, "problem": str(error)})
            continue
        fields = {key: str(value) if isinstance(value, datetime) else value for key, value in run.fields.items()}
        listed.append({"run": run.name, "base_model": run.adapter.base_model, **fields})
    return listed


def serve_hub(session: Session, port: int, root: str | None) -> None:
    """The embedded Hub in the foreground, until it is interrupted."""
    from pipeline.hub.server.app import serve

    folder = Path(root).absolute() if root else hub_root(session.config)

    def announce(url: str) -> None:
        session.console.step("Embedded Hub", f"{url}  ({folder})")
        session.console.note(f"any client finds it with HF_ENDPOINT={url}; Ctrl-C stops it")

    serve(root=folder, namespace=session.config.namespace, port=port, announce=announce)


def hub_root(config: Config) -> Path:
    """Where the embedded Hub of a project keeps its repositories."""
    return config.state / "hub"


def _run(session: Session, made: Plan, chosen: Sequence[Step]) -> Document:
    console, config = session.console, session.config
    _show_plan(console, made)
    with open_hub(made.endpoint, config.namespace, hub_root(config)) as hub, Runtimes() as runtimes:
        tools = Tools(
            repository=session.repository,
            hub=hub,
            runtimes=runtimes,
            console=console,
            templates=Templates(config.root),
        )
        finished = run_steps(chosen, made, tools)
    if finished.results.of(Fetched):
        _show_result(console, made, finished, tools.templates)
    return release_document(made, finished)


def _show_plan(console: Console, made: Plan) -> None:
    version_tag = made.version_tag
    what = f"{made.run.name} → " + (f"{version_tag.name} (version {version_tag.version})" if version_tag else "no tag")
    console.step("Plan", what)
    console.note(f"base model {made.base.id}; commit {made.commit.sha[:10]}; Hub {made.endpoint}")
    console.show(plan_table(made))


def _show_result(console: Console, made: Plan, finished: Finished, templates: Templates) -> None:
    base = finished.results.one(Fetched).base
    use_lines = {
        target.name: target.policy.format.use_line(job_of(made, target, base, templates)) for target in made.targets
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
    manifests = [read_manifest(path.parent) for path in folder.glob(f"*/{MANIFEST_FILE}")] if folder.is_dir() else []
    wanted = {(target.policy.name, target.variant.quant) for target in made.targets}
    fitting = [
        manifest
        for manifest in manifests
        if manifest.run == made.run.name and manifest.tag is None and (manifest.format, manifest.quant) in wanted
    ]
    if not fitting:
        raise ReleaseError(
            f"there is no export of {made.run.name} in {folder}",
            remedy="make one with invoke export, or name it with --path",
        )
    return max(fitting, key=lambda manifest: manifest.exported)


def _now(environment: Callable[[str], str | None] = os.environ.get) -> datetime:
    """The clock for names: SOURCE_DATE_EPOCH (reproducible-builds.org) where it is set, else now."""
    epoch = environment("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC)
    if not epoch.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC)
