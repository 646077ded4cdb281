"""What a format is told to make an export, and what that is made from, as it is compared and kept."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from tagship.artifacts.manifest import Manifest, tool_version
from tagship.formats.protocol import ExportJob, Format
from tagship.formats.shared_parts import SharedPart
from tagship.release.lineage import lineage_of
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import model_files
from tagship.system.files import sha256_of
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
    text = sha256_of(job.measured_by) if job.measured_by else None
    shared, before = {}, []
    for part in parts:
        if part.finds:
            before.append([part.what, part.made_by, text])
        digest = digest_of(made_from | ({"parts": before} if before else {}))
        shared[part.what] = plan.config.state / SHARED / f"{form.name}-{digest[:20]}"
    return replace(job, shared=shared)


def parts_of(target: Target) -> tuple[SharedPart, ...]:
    """What an export is made from that others of its run may share, in order; where the types of its tensors are known,
    without what would find them."""
    parts = target.policy.format.shares(target.policy.settings, target.variant)
    return tuple(part for part in parts if not (part.finds and target.found))


def tools_of(modules: tuple[str, ...]) -> dict[str, str]:
    """What makes an export's files, by the names of the packages: numpy, and those that bring a format's modules."""
    return dict(sorted({"numpy": version("numpy"), **_versions_of(modules)}.items()))


@cache
def _versions_of(modules: tuple[str, ...]) -> dict[str, str]:
    """The version of each package that brings one of some modules. What each package lists is searched as it is, which
    takes a third of what taking all lists apart does (`importlib.metadata.packages_distributions`)."""
    return {each.name: each.version for each in distributions() if _brings(each, modules)} if modules else {}


def _brings(package: Distribution, modules: Sequence[str]) -> bool:
    listed = "\n" + (package.read_text("RECORD") or "")
    top_level = (package.read_text("top_level.txt") or "").split()
    return any(name in top_level or f"\n{name}/" in listed or f"\n{name}.py," in listed for name in modules)


def contents_of(job: ExportJob, form: Format) -> dict[str, Any]:
    """What an export's files are made from.

    Neither the time in its names nor the commit: an export that was killed is resumed under another name.
    """
    settings = form.settings_of(job.settings, job.variant)
    return {
        **_made_from(job, form.inputs(job.settings)),
        "variant": to_builtins(job.variant),
        "settings": repr((settings, job.policy, job.nf4)),
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


def digest_of(inputs: Mapping[str, Any]) -> str:
    """The SHA-256, in hexadecimal, of what can be written as JSON."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
