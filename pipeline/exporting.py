"""Exports: made beside their final names, renamed when whole, and kept when nothing changed."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.artifacts.manifest import (
    Manifest,
    check_files,
    list_files,
    read_manifest,
    tool_version,
    write_manifest,
)
from pipeline.errors import ReleaseError
from pipeline.files import new_folder, sha256_of, write_json
from pipeline.formats.protocol import ExportJob
from pipeline.history.states import disk_state
from pipeline.plan import Plan
from pipeline.progress import Advance
from pipeline.runs.base_folder import BaseFolder
from pipeline.targets import Target
from pipeline.templating import Templates
from pipeline.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE


def job_of(plan: Plan, target: Target, base: BaseFolder, templates: Templates) -> ExportJob:
    """What a format needs to know to make an export."""
    return ExportJob(
        run=plan.run,
        base=base,
        variant=target.variant,
        settings=target.policy.settings,
        policy=plan.config.export,
        title=target.title,
        repo_id=target.repo_id,
        version=plan.version,
        namespace=plan.config.namespace,
        templates=templates,
    )


def export_together(
    plan: Plan, parts: Sequence[tuple[Target, ExportJob]], advance: Advance
) -> list[tuple[Manifest, bool]]:
    """Make the exports of one format under their final names, reading the base once for all of them;
    returns the manifest of each, and whether it was made now.

    An export that an earlier run of the same command finished, from the same inputs, is kept.
    Raises ReleaseError when one cannot be made; then there is nothing under the names that was not
    there before.
    """
    inputs = [_fingerprint(plan, job) for _, job in parts]
    kept = [_finished(plan, target, said) for (target, _), said in zip(parts, inputs, strict=True)]
    missing = [part for part, manifest in zip(parts, kept, strict=True) if manifest is None]
    made = iter(_export(plan, missing, advance) if missing else ())
    results = [(manifest, False) if manifest else (next(made), True) for manifest in kept]
    for (target, _), said, (_, new) in zip(parts, inputs, results, strict=True):
        if new:
            write_json(_state(plan, target), {"inputs": said})
    return results


def _export(plan: Plan, parts: Sequence[tuple[Target, ExportJob]], advance: Advance) -> list[Manifest]:
    names = " and ".join(target.name for target, _ in parts)
    try:
        with ExitStack() as stack:
            folders = [stack.enter_context(new_folder(target.export_dir)) for target, _ in parts]
            jobs = [job for _, job in parts]
            parts[0][0].policy.format.export(list(zip(jobs, folders, strict=True)), advance)
            model = disk_state(plan.config, plan.run.path).document()
            manifests = [
                _manifest(plan, target, job, folder, model)
                for (target, job), folder in zip(parts, folders, strict=True)
            ]
            for manifest, folder in zip(manifests, folders, strict=True):
                write_manifest(folder, manifest)
    except OSError as error:
        raise ReleaseError(f"the {names} export could not be written: {error}") from error
    return manifests


def _state(plan: Plan, target: Target) -> Path:
    return plan.config.state / "exports" / f"{target.export_dir.name}.json"


def _finished(plan: Plan, target: Target, inputs: str) -> Manifest | None:
    try:
        if json.loads(_state(plan, target).read_text(encoding="utf-8"))["inputs"] != inputs:
            return None
        manifest = read_manifest(target.export_dir)
        check_files(target.export_dir, manifest, hashes=False)
    except (OSError, ValueError, KeyError, TypeError, ReleaseError):
        return None  # there is none, or it is of other inputs, or was changed: it is made again
    return manifest


def _manifest(plan: Plan, target: Target, job: ExportJob, folder: Path, model: dict[str, Any]) -> Manifest:
    return Manifest(
        tagship=tool_version(),
        format=target.policy.name,
        quant=target.variant.quant,
        repo_id=target.repo_id,
        version=plan.version,
        tag=plan.tag.name if plan.tag else None,
        commit=plan.commit.sha,
        exported=plan.moment,
        run=plan.run.name,
        fields=dict(sorted(plan.run.fields.items())),
        base_model=job.base.id,
        base_revision=job.base.revision,
        license=job.base.license,
        files=list_files(folder),
        model=model,
    )


def _fingerprint(plan: Plan, job: ExportJob) -> str:
    """A digest of all that an export is made from; big files of the base by size and time."""
    base = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(job.base.path.iterdir())
        if path.is_file()
    ]
    inputs: dict[str, Any] = {
        "tagship": tool_version(),
        "commit": plan.commit.sha,
        "adapter": [sha256_of(job.run.path / name) for name in (CONFIG_FILE, WEIGHTS_FILE)],
        "base": [job.base.id, job.base.revision, job.base.license, base],
        "variant": asdict(job.variant),
        "settings": repr((job.settings, job.policy)),
        "names": [job.title, job.repo_id, job.version, job.namespace, plan.moment.isoformat()],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
