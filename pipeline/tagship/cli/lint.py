"""The verb `lint`: names held against what is there, every finding of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import to_builtins
from msgspec.structs import replace

from tagship.artifacts.manifest import MANIFEST_FILE
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.hub.connection import Hub
from tagship.hub.fetch import locate_base
from tagship.hub.repository import tags_of
from tagship.lint.checks import lint_names
from tagship.lint.files import DiskFiles, HubFiles, document_in, files_on_hub
from tagship.lint.finding import ERROR, OK, WARN, Finding
from tagship.lint.held import ADAPTER, MERGED, Fact, Held
from tagship.lint.names import Named, named
from tagship.lint.reading import read_base, read_held, with_base, with_manifest
from tagship.naming.name_rules import HUB, NameRules
from tagship.naming.names import EXPORT, REPO
from tagship.naming.parsing import RUN
from tagship.naming.tags import read_tag
from tagship.release.name_checks import lint_plan
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.base_folder import check_is_there
from tagship.runs.run import choose_run
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.shown import relative
from tagship.weights.adapter_config import CONFIG_FILE, read_adapter_config

_NOTHING = "neither an adapter, nor weights as safetensors, nor a GGUF"


def lint(session: Session, given: str | None, repo: str | None) -> Document:
    """Hold a name against what is there: of a run, an export, a folder or a GGUF file; of a repository; or those that a
    release would take and give.

    Raises UsageError for two of them at once, ReleaseError for what is not there or is damaged.
    """
    if given and repo:
        raise UsageError("a name and --repo are two things to look at", remedy="look at one after the other")
    with session.hub() as hub:
        if repo:
            findings = _of_repo(session, hub, repo)
        elif given:
            findings = _of_name(session, hub, given)
        else:
            findings = _of_release(session, hub)
    _show(session, findings)
    ok = all(finding.level != ERROR for finding in findings)
    document = {"ok": ok, "findings": [to_builtins(finding) for finding in findings]}
    return document if ok else Refusal(document)


def _of_release(session: Session, hub: Hub) -> list[Finding]:
    """The run that a release would take, and the names that it would give; the run alone where its name lies, so that
    no plan can be made."""
    try:
        plan = session.plan()
    except ReleaseError:
        config = session.config
        findings = _of_folder(session, hub, choose_run(config.runs, config.naming, session.options.run))
        if any(finding.level == ERROR for finding in findings):
            return findings
        raise
    base, problem = _base_of(hub, plan.base)
    return [*lint_plan(plan, base), *_not_compared(plan.run.name, problem)]


def _of_name(session: Session, hub: Hub, given: str) -> list[Finding]:
    config, path = session.config, Path(given)
    if path.suffix == ".gguf" and path.is_file():
        return lint_names([], read_held(DiskFiles(folder=path.parent, only=path.name)))
    for folder in (path, config.root / given, config.runs.root / given, config.exports / given):
        if folder.is_dir():
            return _of_folder(session, hub, folder.resolve())
    for manifest in sorted(config.exports.glob(f"*/{MANIFEST_FILE}")):
        repo_id = document_in(DiskFiles(folder=manifest.parent), MANIFEST_FILE).get("repo_id")
        if isinstance(repo_id, str) and given in (repo_id, repo_id.rpartition("/")[2]):
            return _of_folder(session, hub, manifest.parent)
    raise ReleaseError(
        f"there is no run, export or folder {given!r} to hold the name against",
        remedy=f"name one below {relative(str(config.runs.root), config.root)} or {config.exports.name}, or a path; "
        "--repo namespace/name looks at a repository on the Hub",
    )


def _of_folder(session: Session, hub: Hub, folder: Path) -> list[Finding]:
    files = DiskFiles(folder=folder)
    manifest = document_in(files, MANIFEST_FILE)
    held = with_manifest(read_held(files), manifest)
    if next(folder.glob(f"*/{CONFIG_FILE}"), None) and CONFIG_FILE not in files.names():
        read_adapter_config(folder)  # names the adapters that are in folders below
    if not held.holds and CONFIG_FILE not in files.names():
        raise ReleaseError(f"{folder} holds {_NOTHING}", remedy="name the folder of a run, of an export or of a model")
    held, problem = _with_its_base(session, hub, held)
    as_run = named(folder.name, RUN, session.config)
    if not manifest and (held.holds <= {ADAPTER} or (as_run.parsed and CONFIG_FILE in files.names())):
        names = [as_run]
    else:
        names = [named(folder.name, EXPORT, session.config)]
        if isinstance(repo_id := manifest.get("repo_id"), str):
            names.append(named(repo_id, REPO, session.config, _rules(session, manifest.get("format"))))
    return [*_unknown(session, names[0]), *lint_names(names, held), *_not_compared(names[0].text, problem)]


def _of_repo(session: Session, hub: Hub, repo_id: str) -> list[Finding]:
    files = files_on_hub(hub, repo_id)
    manifest = document_in(files, MANIFEST_FILE)
    held = with_manifest(read_held(files), manifest)
    if not held.holds:
        raise ReleaseError(f"{repo_id} holds {_NOTHING}", remedy="name a repository of a model")
    tags = [read_tag(tag, session.config.streams) for tag in tags_of(hub, repo_id)]
    versions = tuple(tag.version for tag in tags if tag.stream)
    held, problem = _with_its_base(session, hub, replace(held, repo_tags=Fact(versions, "the repo's tags")))
    name = named(repo_id, REPO, session.config, _rules(session, manifest.get("format")))
    return [*lint_names([name], held), *_not_compared(repo_id, problem)]


def _rules(session: Session, form: object) -> Sequence[NameRules]:
    formats = [policy.format for policy in session.config.formats if policy.name == form]
    return (HUB, *(rules for each in formats for rules in each.name_rules))


def _with_its_base(session: Session, hub: Hub, held: Held) -> tuple[Held, str | None]:
    """An adapter, with what its base model says of family and size; or why that is not known."""
    if ADAPTER not in held.holds or MERGED in held.holds:
        return held, None
    reference = session.options.base or next(iter(held.base_ids), "")
    try:
        base = resolve_base(reference, None, session.config.bases, session.config.root)
    except ReleaseError as error:
        return held, str(error)
    model, problem = _base_of(hub, base)
    return (replace(held, base_ids=(base.id,)) if model is None else with_base(held, model, base.id)), problem


def _base_of(hub: Hub, base: BaseModel) -> tuple[Held | None, str | None]:
    """What a base model's configuration and headers say, without fetching its weights; or why nobody knows."""
    try:
        located = locate_base(base, hub)
        if base.path is not None:
            check_is_there(base, base.path)
    except ReleaseError as error:
        return None, str(error)
    if base.path is not None:
        return read_base(DiskFiles(folder=base.path)), None
    assert located.api is not None
    sizes = {file.name: file.size for file in located.files}
    return read_base(HubFiles(api=located.api, repo_id=base.id, revision=str(located.revision), sizes=sizes)), None


def _not_compared(name: str, problem: str | None) -> Iterator[Finding]:
    if problem:
        remedy = "--base FOLDER, or [bases] in release.toml, says where the base model is"
        yield Finding(level=WARN, field="base and size", name=name, held=f"not compared: {problem}", remedy=remedy)


def _unknown(session: Session, name: Named) -> Iterator[Finding]:
    """A name that no pattern makes, which says nothing but by its words."""
    if not name.parsed:
        key = "[naming] run" if name.what == RUN else "[naming] export"
        yield Finding(
            level=WARN,
            field="name",
            name=name.text,
            held=f"{key} of {session.config.file.name} does not make it, so that only its words are read",
            remedy=f"{called()} name --new makes a run's name" if name.what == RUN else None,
        )


def _show(session: Session, findings: Sequence[Finding]) -> None:
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.name, []).append(finding)
    for name, of_it in by_name.items():
        session.console.step(name)
        for finding in sorted(of_it, key=lambda finding: (ERROR, WARN, OK).index(finding.level)):
            mended = f" ({finding.remedy})" if finding.remedy else ""
            session.console.note(f"{finding.level}: {finding.line}{mended}")
