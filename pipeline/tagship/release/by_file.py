"""An export that the disk has no room for: each file of its weights goes to the Hub, ahead of the commit, when it is
whole, and has its header alone here from then on."""

from collections.abc import Iterator
from pathlib import Path

from tagship.artifacts.manifest import FileEntry, Manifest, file_entry, list_files, write_manifest
from tagship.history.model_lookup import disk_state
from tagship.hub.publish import send_ahead
from tagship.hub.upload import Upload
from tagship.release.export_store import forget, manifest_of, unwritten
from tagship.release.jobs import job_of, job_to_export
from tagship.release.plan import Plan
from tagship.release.results import Exported, Fetched, Fitting, Results, Sent
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import new_folder
from tagship.system.progress import Advance
from tagship.system.templating import human_size


def export_and_send(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    """Export with room for one file of weights. Nothing of it is kept for another run."""
    forget(plan, target)
    work = done.for_target(Fitting, target).footprint.work
    try:
        with tools.console.bytes(f"{target.name}, file by file", work) as advance:
            manifest, sent = _exported(plan, target, done, tools, advance)
    except OSError as error:
        raise unwritten([target], error) from error
    size = human_size(sum(entry.size for entry in sent))
    tools.console.note(f"{target.name}: {len(sent)} files ({size}) wait on {tools.hub.url} for a commit")
    yield Exported(target=target, folder=target.export_dir, manifest=manifest)
    yield Sent(target=target, paths=frozenset(entry.path for entry in sent))


def _exported(
    plan: Plan, target: Target, done: Results, tools: Tools, advance: Advance
) -> tuple[Manifest, list[FileEntry]]:
    """The manifest of the export under its final name, and what was sent of it."""
    from tagship.weights.remade import let_go

    job = job_to_export(plan, target, done.one(Fetched).base, tools.templates)
    known: dict[Path, str] = {}
    sent: list[FileEntry] = []
    with new_folder(target.export_dir) as folder:
        for path, digest in target.policy.format.export_by_file(job, folder, advance):
            known |= {path: digest} if digest else {}
            entry = file_entry(folder, path.relative_to(folder).as_posix(), known=known)
            if entry.path not in send_ahead(tools.hub, _part(plan, target, entry, folder)):
                raise ToolError(f"{tools.hub.url} keeps {entry.path} in git, so that it cannot be sent ahead")
            let_go(path)
            known[path] = entry.sha256
            sent.append(entry)
        model = disk_state(plan.config, target.run.path)
        manifest = manifest_of(plan, target, job, list_files(folder, known=known), model)
        write_manifest(folder, manifest)
    return manifest, sent


def check_sent(plan: Plan, target: Target, done: Results, tools: Tools) -> None:
    """Raise ReleaseError where what was sent is not what its weights come to when they are made again, as they are to
    be compared."""
    sent = done.for_target(Exported, target).manifest.files
    digests = {entry.path: entry.sha256 for entry in sent}
    job = job_of(plan, target, done.one(Fetched).base, tools.templates)
    for name, digest in target.policy.format.digests(job):
        if digests.get(name) != digest:
            raise ReleaseError(
                f"{name} is not what was sent to the Hub when it is made again, so that what was sent is not what "
                "would be compared",
                remedy="do the unit again; where that shows the same, look after this machine's memory and disk",
            )


def _part(plan: Plan, target: Target, entry: FileEntry, folder: Path) -> Upload:
    """A file of an export that is not whole yet, as what is sent ahead."""
    return Upload(
        repo_id=target.repo_id,
        folder=folder,
        files=(entry,),
        private=plan.private,
        message="",
        description="",
        tag=None,
        proposes=plan.proposes,
    )
