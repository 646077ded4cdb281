"""Exports: made beside their final names, renamed when whole, and kept when nothing changed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from tagship.artifacts.manifest import (
    FileEntry,
    Manifest,
    check_files,
    list_files,
    read_manifest,
    tool_version,
    write_manifest,
)
from tagship.formats.protocol import ExportJob
from tagship.formats.shared_parts import SharedPart
from tagship.history.model import ModelState
from tagship.history.model_lookup import disk_state
from tagship.policy.config import Config
from tagship.release.lineage import lineage_of
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.release.unchanged import unchanged
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import new_folder, remove_leftovers, sha256_of, write_json
from tagship.system.machine import this_boot
from tagship.system.progress import Advance
from tagship.system.templating import Templates
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE

# The folder of what exports share, below that of tagship's own state.
SHARED = "shared"


def job_of(
    plan: Plan, target: Target, base: BaseFolder, templates: Templates, manifest: Manifest | None = None
) -> ExportJob:
    """What a format needs to know to make an export; of one that is there, with what its `manifest` says was found."""
    return ExportJob(
        run=target.run,
        base=base,
        variant=target.variant,
        settings=target.policy.settings,
        policy=plan.config.export,
        title=target.title,
        repo_id=target.repo_id,
        lineage=lineage_of(plan, target),
        version=plan.version,
        moment=plan.moment,
        namespace=plan.config.namespace,
        templates=templates,
        question=plan.config.verify.prompts[0],
        revision=plan.version_tag.name if plan.version_tag and plan.config.tags_versions else None,
        found=manifest.found if manifest else target.found,
        measured_by=plan.config.verify.text,
    )


def job_to_export(
    plan: Plan, target: Target, base: BaseFolder, templates: Templates, manifest: Manifest | None = None
) -> ExportJob:
    """As `job_of`, with where that is which the exports of its run share (`release/sharing.py`)."""
    job, form = job_of(plan, target, base, templates, manifest), target.policy.format
    parts = parts_of(target)
    if not parts:
        return job
    made_from = _made_from(job, form.inputs(job.settings)) | {"tools": tools_of(form.modules)}
    made_from["policy"] = repr((job.policy, job.nf4))
    shared, before = {}, []
    for part in parts:
        if part.finds:
            before.append([part.what, part.made_by, sha256_of(job.measured_by) if job.measured_by else None])
        digest = _digest(made_from | ({"parts": before} if before else {}))
        shared[part.what] = plan.config.state / SHARED / f"{form.name}-{digest[:20]}"
    return replace(job, shared=shared)


def parts_of(target: Target) -> tuple[SharedPart, ...]:
    """What an export is made from that others of its run may share, in order; where the types of its tensors are known,
    without what would find them."""
    parts = target.policy.format.shares(target.policy.settings, target.variant)
    return tuple(part for part in parts if not (part.finds and target.found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
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
    contents = [_contents(job, target.policy.format.inputs(job.settings)) for target, job in parts]
    inputs = [_fingerprint(plan, job, content) for (_, job), content in zip(parts, contents, strict=True)]
    found = [_finished(plan, target, said) for (target, _), said in zip(parts, inputs, strict=True)]
    # Of this boot: after a crash, a file that had its name need not be whole.
    resumed = [_digest(content | {"boot": this_boot()}) for content in contents]
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
        check_files(target.export_dir, manifest)
    except (OSError, ReleaseError) as error:
        return str(error)
    return manifest


@contextmanager
def _models(
    plan: Plan, targets: Sequence[Target], jobs: Sequence[ExportJob]
) -> Iterator[Callable[[Target], ModelState]]:
    """What tells of what the model of each target is made of. Reading that of a base which nobody has read yet takes as
    long as a merge, and is done beside it."""
    runs = list(dict.fromkeys(target.run.path for target in targets))

    def states(advance: Advance) -> dict[Path, ModelState]:
        return {run: disk_state(plan.config, run, advance=advance) for run in runs}

    with unchanged(jobs, states) as state_of:
        yield lambda target: state_of(target.run.path)


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


# It reads what is installed, file by file.
_packages = cache(packages_distributions)


def tools_of(modules: tuple[str, ...]) -> dict[str, str]:
    """What makes an export's files, by the names of the packages: numpy, and those that bring a format's modules."""
    packages = _packages() if modules else {}
    names = {"numpy", *(name for module in modules for name in packages.get(module, ()))}
    return {name: version(name) for name in sorted(names)}


def _quantized(job: ExportJob) -> dict[str, Any] | None:
    held = job.run.quantized
    return {**held.document(), "merged_into": held.method if job.nf4 else "16bit"} if held else None


def _fingerprint(plan: Plan, job: ExportJob, contents: Mapping[str, Any]) -> str:
    """A digest of all that a finished export says and is made from."""
    return _digest(
        {
            **contents,
            "commit": plan.commit.sha,
            "license": job.base.license,
            "names": [job.repo_id, plan.moment.isoformat()],
        }
    )


def _contents(job: ExportJob, inputs: Sequence[Path]) -> dict[str, Any]:
    """What an export's files are made from.

    Neither the time in its names nor the commit: an export that was killed is resumed under another name.
    """
    return {
        **_made_from(job, inputs),
        "variant": asdict(job.variant),
        "settings": repr((job.settings, job.policy, job.nf4)),
        "found": dict(job.found.tensors) if job.found else None,
        "names": [job.title, job.version, job.namespace, job.lineage.parent, job.repo_id if job.version else None],
    }


def _made_from(job: ExportJob, inputs: Sequence[Path]) -> dict[str, Any]:
    """What a merged model is made from; big files of the base by size and time, `inputs` are the format's own."""
    files = model_files(job.base, job.run.path)
    base = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(job.base.path.iterdir())
        if path.is_file()
    ]
    return {
        "tagship": tool_version(),
        "adapter": [sha256_of(job.run.path / name) for name in (CONFIG_FILE, WEIGHTS_FILE)],
        "files": {name: sha256_of(path) for name, path in files.sources.items()},
        "documents": files.documents,
        "base": [job.base.id, job.base.revision, job.base.license_name or job.base.license, base],
        "inputs": [sha256_of(path) for path in inputs],
    }


def _digest(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
