"""The verb `reproduce`: a published release, made again and compared byte by byte."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct, to_builtins

from tagship.artifacts.manifest import CARD_FILE, MANIFEST_FILE, Manifest
from tagship.cli.published import chosen
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.formats.differences import file_differences
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.repository import published_manifest, small_file
from tagship.published.audit import compare_files
from tagship.published.releases import Published, Unread
from tagship.release.original import Here, check_manifest, original_plan, policy_then
from tagship.release.rebuilding import Rebuilt, check_room_for, other_tools, rebuild
from tagship.release.step import tools_of
from tagship.runs.run import choose_run
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import scratch_folder, sha256_of
from tagship.system.git import Repository
from tagship.system.machine import free_disk

EQUAL, DIFFERS, MISSING, EXTRA, NOT_COMPARED = "equal", "differs", "missing", "extra", "not compared"


class FileResult(Struct, frozen=True, kw_only=True):
    """What became of one file: `differs` says `where`; one that is `missing` was not made, one that is `extra` was not
    published."""

    path: str
    result: str
    where: tuple[str, ...] = ()


def reproduce(session: Session, repo_id: str | None, revision: str | None) -> Document:
    """Export again what a release.json tells, and compare every file with it. Raises ReleaseError where that cannot be
    done."""
    if not repo_id:
        raise UsageError("reproduce needs to know which repo", remedy=f"{called()} reproduce --repo namespace/name")
    with session.hub() as hub, scratch_folder("reproduce") as scratch:
        release = _release(session, hub, repo_id, revision)
        session.console.step(release.repo_id, release.tag or "main")
        changed = [finding for finding in compare_files(hub, release) if finding.level == "different"]
        for finding in changed:
            session.console.warn(f"the Hub has {finding.about}: {finding.told}", None)
        rebuilt, tools = _rebuilt(session, hub, release, scratch)
        session.console.step("Compare")
        files = list(_compare(hub, release, rebuilt, scratch))
        _show(session, files, rebuilt)
    document = {
        "repo": release.repo_id,
        "tag": release.tag,
        "commit": release.commit,
        "source_commit": release.manifest.commit,
        "ok": not changed and all(each.result in (EQUAL, NOT_COMPARED) for each in files),
        "tools": tools,
        "changed_on_the_hub": [{"path": finding.about, "told": finding.told} for finding in changed],
        "files": [to_builtins(each) for each in files],
    }
    return document if document["ok"] else Refusal(document)


def _release(session: Session, hub: Hub, repo_id: str, revision: str | None) -> Published:
    """The release of a repo that is meant: that of a tag, or else the one that main has. Raises ReleaseError."""
    found = chosen(session.config, hub, repo_id, revision)
    for each in found:
        if isinstance(each, Unread) and len(found) == 1:
            raise ReleaseError(each.problem)
    readable = [each for each in found if isinstance(each, Published)]
    live = [each for each in readable if each.main and each.tag == each.main.tag]
    if len(readable) == 1 or live:
        return (live or readable)[0]
    tags = ", ".join(sorted(str(each.tag) for each in readable))
    raise UsageError(f"{repo_id} has several releases, none of which is on main: {tags}", remedy="add --revision TAG")


def _rebuilt(session: Session, hub: Hub, release: Published, scratch: Path) -> tuple[Rebuilt, list[str]]:
    """The release made again in `scratch`, and what of the tools has another version here."""
    console, options, manifest = session.console, session.options, release.manifest
    check_manifest(manifest)
    check_room_for(manifest, scratch)
    named = choose_run(session.config.runs, session.config.naming, options.run) if options.run else None
    here = Here(
        repository=session.repository,
        config=session.config,
        run=named,
        warn=lambda text: console.warn(text, None),
    )
    with console.working(f"checking out {manifest.commit[:10]}"):
        config = policy_then(manifest, scratch / "repository", here)
        plan = original_plan(manifest, config, scratch, here)
    console.note(f"commit {manifest.commit[:10]}, the run {manifest.run}, the base {manifest.base_model}")
    differing = other_tools(manifest, plan)
    for told in differing:
        console.warn(told, None)
    with Repository(config.root) as repository, tools_of(config, repository, hub, console) as tools:
        return rebuild(plan, manifest, _siblings(hub, release), tools), differing


def _siblings(hub: Hub, release: Published) -> list[Manifest]:
    """The manifests of the other repos of a release, as far as they are there."""
    found = []
    for repo_id in release.manifest.siblings:
        try:
            found.append(published_manifest(hub, repo_id, release.manifest.tag or "main"))
        except ReleaseError:  # not there any more, or for others to see
            continue
    return [each for each in found if each and each.commit == release.manifest.commit]


def _compare(hub: Hub, release: Published, rebuilt: Rebuilt, scratch: Path) -> Iterator[FileResult]:
    """Every file that was published, or is made here, by its name."""
    made = rebuilt.digests
    published = {entry.path: entry.sha256 for entry in release.manifest.files}
    for path in sorted({*published, *made, MANIFEST_FILE}):
        if path == CARD_FILE and rebuilt.without_card:
            yield FileResult(path=path, result=NOT_COMPARED, where=(rebuilt.without_card,))
        elif path not in made:
            yield FileResult(path=path, result=MISSING)
        elif path != MANIFEST_FILE and path not in published:
            yield FileResult(path=path, result=EXTRA)
        elif made[path] == published.get(path):
            yield FileResult(path=path, result=EQUAL)
        else:
            yield _compared(hub, release, path, rebuilt.path(path), scratch)


def _compared(hub: Hub, release: Published, path: str, made: Path, scratch: Path) -> FileResult:
    """A file whose digest is another, or that has none on record: where it is not what the Hub has."""
    size = next((entry.size for entry in release.manifest.files if entry.path == path), 0)
    if size > free_disk(scratch):
        return FileResult(path=path, result=DIFFERS, where=("there is no room to fetch it and see where",))
    api = hub.reading(release.repo_id)
    with hub_errors(f"read {path} of {release.repo_id}"):
        if path == MANIFEST_FILE:
            there = scratch / "published" / MANIFEST_FILE
            there.parent.mkdir(exist_ok=True)
            there.write_bytes(small_file(api, release.repo_id, path, release.commit))
        else:
            there = Path(
                api.hf_hub_download(release.repo_id, path, revision=release.commit, local_dir=scratch / "published")
            )
    if sha256_of(there) == sha256_of(made):  # as of release.json, whose digest is nowhere
        return FileResult(path=path, result=EQUAL)
    return FileResult(path=path, result=DIFFERS, where=tuple(file_differences(made, there)))


def _show(session: Session, files: Sequence[FileResult], rebuilt: Rebuilt) -> None:
    for each in files:
        mark = each.result if each.result == EQUAL else each.result.upper()
        session.console.note(f"{mark}: {each.path}")
        for where in each.where:
            session.console.note(where, depth=2)
    session.console.note("evidence is release.json's: nothing was verified here; archives are not on the Hub")
