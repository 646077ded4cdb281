"""The units of work of a release, told by a document: each is one export of one run, which any machine can make.

A release of several runs has the document of each below RUNS, and the units of all in their order.

`invoke plan` writes the document; `invoke work` makes its own plan by the options in it, which has to come to the same
document, so that what is made elsewhere is what was planned. Digests are SHA-256, in hexadecimal, of canonical JSON.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tagship.artifacts.manifest import tool_version
from tagship.formats.protocol import Footprint
from tagship.history.model_lookup import disk_state, known_digests
from tagship.naming.clock import MOMENT_FORMAT
from tagship.release.jobs import job_of
from tagship.release.options import Options
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.runs.base_at_hand import base_at_hand
from tagship.runs.base_folder import BaseFolder, check_base_folder
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import sha256_of
from tagship.system.modules import are_installed
from tagship.system.shown import masked
from tagship.system.templating import Templates
from tagship.verify.runtimes.registry import memory_to_compare

SCHEMA = 1
# What of a document is not what was decided, but what it comes to on the machine that planned.
_PREDICTED = ("memory", "disk")
# What a document says of its units, and of itself.
_OF_UNITS = ("units", "formats", "digest")
RUNS = "runs"


def plan_document(plan: Plan, options: Options, templates: Templates, *, reads: bool = False) -> dict[str, Any]:
    """A plan with all that its units need to be done elsewhere: what `--json` prints. `options` are those that it was
    made by; nothing is remembered on disk where it only `reads`. Raises ReleaseError where the run or its base cannot
    be read."""
    made_from: dict[str, Any] = {
        "schema": SCHEMA,
        "tagship": tool_version(),
        **plan.document(),
        "extent": plan.extent,
        "policy": sha256_of(plan.config.file),
        "model": disk_state(plan.config, plan.run.path, reads=reads).document(),
        "inputs": inputs_of(plan, reads=reads),
        "options": _options_document(plan, options),
    }
    family = sorted(target.repo_id for target in plan.family)
    base = _base_here(plan)
    units = []
    for index, target in enumerate(plan.targets):
        unit = _unit_document(plan, target, index)
        common = {key: value for key, value in made_from.items() if key not in _OF_UNITS}
        unit["digest"] = digest_of_json([common, {key: unit[key] for key in unit if key != "index"}, family])
        units.append(unit | _predicted(plan, target, base, templates))
    document = made_from | {"units": units}
    return document | {"digest": digest_of_json(decided(document))}


def runs_document(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The document of several runs that are released as one, of which each has its own."""
    units = [unit for document in documents for unit in document["units"]]
    return {
        **{key: documents[0][key] for key in ("schema", "tagship", "tag", "version", "commit")},
        RUNS: list(documents),
        "units": [unit | {"index": index} for index, unit in enumerate(units)],
        "digest": digest_of_json([document["digest"] for document in documents]),
    }


def check_apart(plans: Sequence[Plan]) -> None:
    """Raise UsageError where what is made of several runs would have the same name."""
    taken: dict[str, str] = {}
    for plan in plans:
        for target in plan.targets:
            for name in {target.repo_id, str(target.export_dir), str(target.artifact)}:
                other = taken.setdefault(name, plan.run.name)
                if other != plan.run.name:
                    raise UsageError(
                        f"what is made of {other} and of {plan.run.name} would both be {name}",
                        remedy="have what tells the runs apart in the patterns of [naming], such as {rank} or {run}, "
                        "or release them by tags of their own",
                    )


def decided(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of a document was decided, and is the same wherever it is made."""
    units = [{key: unit[key] for key in unit if key not in _PREDICTED} for unit in document["units"]]
    return {key: value for key, value in document.items() if key not in _OF_UNITS} | {"units": units}


def matrix(document: Mapping[str, Any]) -> str:
    """The units in a line, as GitHub's `strategy.matrix` takes them through fromJSON."""
    keys = ("index", "name", "run", "format", "quant", "digest")
    units = [{key: "" if unit[key] is None else unit[key] for key in keys} for unit in document["units"]]
    return json.dumps({"include": units})


def _unit_document(plan: Plan, target: Target, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "name": target.name,
        "run": target.run.name,
        "format": target.policy.name,
        "quant": target.variant.quant,
        "export": target.export_dir.name,
        "artifact": target.artifact.name,
        "repo_id": target.repo_id,
    }


def _options_document(plan: Plan, options: Options) -> dict[str, Any]:
    """The options that come to the same plan at another time, in another clone."""
    root, run = plan.config.root.resolve(), plan.run.path.resolve()
    return {
        "tag": plan.tag.name if plan.tag else None,
        "run": run.relative_to(root).as_posix() if run.is_relative_to(root) else run.as_posix(),
        "base": options.base,
        "formats": list(options.formats),
        "quants": list(options.quants),
        "of_formats": dict(options.of_formats),
        "hub": masked(options.hub) if options.hub else None,
        "at": plan.moment.strftime(MOMENT_FORMAT),
        "repo_name": options.repo_name,
        "private": options.private,
        "extent": options.extent,
    }


def inputs_of(plan: Plan, *, reads: bool = False) -> dict[str, str]:
    """The files beside run and base that exports are made from or held against: the digest of each by its path below
    release.toml, or its name where it is elsewhere."""
    config = plan.config
    files = {path for target in plan.targets for path in target.policy.format.inputs(target.policy.settings)}
    if config.verify.text:
        files.add(config.verify.text)
    if config.evaluate:
        files.add(config.evaluate.file)
        files |= {config.evaluate.scoring.schema} if config.evaluate.scoring.schema else set()
    found, digest = {}, known_digests(config, reads=reads).of
    for path in files:
        within = path.is_relative_to(config.root)
        if path.is_file():  # what is not there is told by the gates
            found[path.relative_to(config.root).as_posix() if within else path.name] = digest(path)
    return dict(sorted(found.items()))


def _base_here(plan: Plan) -> BaseFolder | None:
    """The base, where all of it is on this disk."""
    with suppress(ReleaseError):  # told where it is needed
        at_hand = base_at_hand(plan.base)
        if at_hand.folder is not None and at_hand.files is not None and at_hand.here == at_hand.files.names:
            return check_base_folder(plan.base, at_hand.folder, revision=at_hand.commit)
    return None


def _predicted(plan: Plan, target: Target, base: BaseFolder | None, templates: Templates) -> dict[str, int | None]:
    """What a unit needs, in bytes; None where that is not known here: without the base, or what formats need."""
    form = target.policy.format
    if base is not None and are_installed(form.modules):
        with suppress(ReleaseError):  # told by the gates
            needed: Footprint = form.footprint(job_of(plan, target, base, templates))
            comparing = memory_to_compare(form.runtimes(native=bool(plan.config.verify.native)), base.path)
            return {"memory": max(needed.memory, comparing), "disk": needed.disk}
    return dict.fromkeys(_PREDICTED)


def digest_of_json(what: Any) -> str:
    """The SHA-256, in hexadecimal, of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
