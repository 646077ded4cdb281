"""Exports: made beside their final names, renamed when whole, and kept when nothing changed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import (
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    list_files,
    read_manifest,
    tool_version,
    write_manifest,
)
from tagship.formats.protocol import ExportJob
from tagship.history.model import ModelState
from tagship.history.model_lookup import disk_state
from tagship.policy.config import Config
from tagship.release.jobs import contents_of, digest_of, tools_of
from tagship.release.lineage import lineage_of
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.release.unchanged import unchanged
from tagship.system.errors import ReleaseError
from tagship.system.files import new_folder, remove_leftovers, sha256_of, write_json
from tagship.system.machine import this_boot
from tagship.system.progress import Advance


class Made(Struct, frozen=True, kw_only=True):
    """An export under its final name: its manifest, whether it was made `new`, and what is wrong with the one that was
    there before, where it is made anew for that."""

    manifest: Manifest
    new: bool
    damage: str | None = None


def export_together(plan: Plan, parts: Sequence[tuple[Target, ExportJob]], advance: Advance) -> list[Made]:
    """Make the exports of one format under their final names, reading the base once for all of them.

    An export that an earlier run of the same command finished, from the same inputs, is kept where every file of it is
    what it was then, by its SHA-256. Raises ReleaseError when one cannot be made; then there is nothing under the names
    that was not there before.
    """
    contents = [contents_of(job, target.policy.format) for target, job in parts]
    inputs = [_fingerprint(plan, job, content) for (_, job), content in zip(parts, contents, strict=True)]
    found = [_finished(plan, target, said) for (target, _), said in zip(parts, inputs, strict=True)]
    # Of this boot: after a crash, a file that had its name need not be whole.
    resumed = [digest_of(content | {"boot": this_boot()}) for content in contents]
    missing = [
        (*part, name) for part, kept, name in zip(parts, found, resumed, strict=True) if not isinstance(kept, Manifest)
    ]
    made = iter(_export(plan, missing, advance) if missing else ())
    results = [
        Made(manifest=_as_of_now(plan, target, kept), new=False)
        if isinstance(kept, Manifest)
        else Made(manifest=next(made), new=True, damage=kept)
        for (target, _), kept in zip(parts, found, strict=True)
    ]
    for (target, job), said, result in zip(parts, inputs, results, strict=True):
        if result.new:
            shared = sorted({folder.name for folder in job.shared.values()})
            write_json(state_of(plan.config, target.export_dir), {"inputs": said, "shared": shared})
    return results


def _as_of_now(plan: Plan, target: Target, manifest: Manifest) -> Manifest:
    """A kept export's manifest, with what it says of the release around it."""
    now = replace(manifest, **claims_of(plan, target))
    if now != manifest:
        write_manifest(target.export_dir, now)
    return now


def forget(plan: Plan, target: Target) -> None:
    """Have an export made anew by the next command that wants it."""
    state_of(plan.config, target.export_dir).unlink(missing_ok=True)


def _export(plan: Plan, parts: Sequence[tuple[Target, ExportJob, str]], advance: Advance) -> list[Manifest]:
    """Make exports; with each comes the name by which a killed run of it is known again."""
    targets, jobs, names = zip(*parts, strict=True)
    try:
        for parent in {target.export_dir.parent for target in targets}:
            remove_leftovers(parent, names)
        with ExitStack() as stack:
            folders = [
                stack.enter_context(new_folder(target.export_dir, resumes=name))
                for target, name in zip(targets, names, strict=True)
            ]
            with _models(plan, targets, jobs) as model_of:
                digests = targets[0].policy.format.export(list(zip(jobs, folders, strict=True)), advance)
                manifests = [
                    manifest_of(plan, target, job, list_files(folder, known=digests), model_of(target))
                    for target, job, folder in zip(targets, jobs, folders, strict=True)
                ]
            for manifest, folder in zip(manifests, folders, strict=True):
                write_manifest(folder, manifest)
    except OSError as error:
        raise unwritten(targets, error) from error
    return manifests


def unwritten(targets: Sequence[Target], error: OSError) -> ReleaseError:
    """What is said of exports that a disk did not take."""
    formats = " and ".join(dict.fromkeys(target.name for target in targets))
    return ReleaseError(f"the {formats} export could not be written: {error}")


def state_of(config: Config, export: Path) -> Path:
    """The file in which it is kept what an export was made from: a digest of all of it, and the names of the folders of
    what it shares with others."""
    return config.state / "exports" / f"{export.name}.json"


def _finished(plan: Plan, target: Target, inputs: str) -> Manifest | str | None:
    """The export that is there; what is wrong with it; None where there is none, or one of other inputs."""
    try:
        if json.loads(state_of(plan.config, target.export_dir).read_text(encoding="utf-8"))["inputs"] != inputs:
            return None
        manifest = read_manifest(target.export_dir)
    except (OSError, ValueError, KeyError, TypeError, ReleaseError):
        return None
    try:
        check_identity(plan, target, manifest)
        check_files(target.export_dir, manifest)
    except (OSError, ReleaseError) as error:
        return str(error)
    return manifest


def check_identity(plan: Plan, target: Target, manifest: Manifest) -> None:
    """Raise ReleaseError for the manifest in a target's folder that says it is of another export."""
    planned = {
        "format": target.policy.name,
        "quant": target.variant.quant,
        "run": target.run.name,
        "base_model": plan.base.id,
    }
    said = {name: getattr(manifest, name) for name in planned}
    other = next((name for name in planned if said[name] != planned[name]), None)
    if other:
        raise ReleaseError(
            f"{target.export_dir} is not what was exported: the {other} in its {MANIFEST_FILE} is {said[other]!r}, and "
            f"that of {target.name} is {planned[other]!r}",
            remedy="export it again, which makes it anew; nothing of it is published",
        )


@contextmanager
def _models(
    plan: Plan, targets: Sequence[Target], jobs: Sequence[ExportJob]
) -> Iterator[Callable[[Target], ModelState]]:
    """What tells of what the model of each target is made of. Reading that of a base which nobody has read yet takes as
    long as a merge, and is done beside it."""
    runs = list(dict.fromkeys(target.run.path for target in targets))

    def states(advance: Advance) -> dict[Path, ModelState]:
        return {run: disk_state(plan.config, run, advance=advance) for run in runs}

    with unchanged(jobs, states) as of_run:
        yield lambda target: of_run(target.run.path)


def manifest_of(
    plan: Plan, target: Target, job: ExportJob, files: tuple[FileEntry, ...], model: ModelState
) -> Manifest:
    found = target.policy.format.found(job)
    return Manifest(
        tagship=tool_version(),
        format=target.policy.name,
        quant=target.variant.quant,
        repo_id=target.repo_id,
        version=plan.version,
        tag=plan.tag.name if plan.tag else None,
        commit=plan.commit.sha,
        exported=plan.moment,
        run=target.run.name,
        fields=dict(sorted(target.run.fields.items())),
        base_model=job.base.id,
        base_revision=job.base.revision,
        license=job.base.license,
        files=files,
        model=model.document(),
        quantized=_quantized(job),
        tensors=found.tensors if found else target.tensors,
        mix=found.record if found else None,
        tools=tools_of(target.policy.format.modules),
        **claims_of(plan, target),
    )


def claims_of(plan: Plan, target: Target) -> dict[str, Any]:
    """What a manifest says of the release around its export, none of which changes a file of it."""
    return {
        "stream": plan.stream.name if plan.stream else None,
        "source": plan.source,
        "policy": sha256_of(plan.config.file),
        "siblings": tuple(
            dict.fromkeys(
                relative.repo_id
                for relative in lineage_of(plan, target).relatives
                if relative.repo_id != target.repo_id
            )
        ),
        "missing": plan.missing,
    }


def _quantized(job: ExportJob) -> dict[str, Any] | None:
    held = job.run.quantized
    return {**held.document(), "merged_into": held.method if job.nf4 else "16bit"} if held else None


def _fingerprint(plan: Plan, job: ExportJob, contents: Mapping[str, Any]) -> str:
    """A digest of all that a finished export says and is made from."""
    return digest_of(
        {
            **contents,
            "commit": plan.commit.sha,
            "license": job.base.license,
            "names": [job.repo_id, plan.moment.isoformat()],
        }
    )
