"""The names of a plan, held against its run, its base model and what is exported: a release refuses lies."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from tagship.artifacts.manifest import MANIFEST_FILE
from tagship.formats.protocol import ADAPTED
from tagship.lint.checks import lint_names
from tagship.lint.files import DiskFiles, document_in
from tagship.lint.finding import ERROR, OK, Finding, without_repetition
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.lint.names import Named, named
from tagship.lint.reading import read_base, read_held, read_run, with_base, with_manifest
from tagship.naming.names import ARTIFACT, EXPORT, REPO
from tagship.naming.parsing import RUN
from tagship.policy.config import Config
from tagship.policy.versions import OFF, REQUIRED
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.runs.base import BaseModel
from tagship.runs.run import Run
from tagship.system.called import called
from tagship.system.errors import ReleaseError

# What an export that is a whole model will hold, by the library that loads it (the model card's `library_name`).
_LOADED_BY = {"transformers": MERGED, "gguf": GGUF}


def check_names(plan: Plan, base: Path | None = None, exported: Collection[Path] = ()) -> list[Finding]:
    """Raise ReleaseError when a name says what is not so, unless `[checks] names` only warns; returns what else is
    doubtful of what names say. What they leave out, `invoke lint` tells: it is no reason to speak up at each release.

    `base` is the base model's folder, once it is here; `exported` are the export folders that are there already.
    """
    level = plan.config.checks.names
    if level == OFF:
        return []
    model = read_base(DiskFiles(folder=base)) if base is not None else None
    findings = [finding for finding in lint_plan(plan, model, exported) if finding.level != OK and not finding.omission]
    errors = [finding for finding in findings if finding.level == ERROR]
    if errors and level == REQUIRED:
        listed = "".join(f"\n  {finding.sentence} ({finding.remedy})" for finding in errors)
        raise ReleaseError(
            f"{'a name says' if len(errors) == 1 else 'names say'} what is not so:{listed}",
            remedy=f'{called()} lint shows all that names say; [checks] names = "warn" in release.toml lets it pass',
        )
    return findings


def lint_run(config: Config, run: Run, base: BaseModel) -> list[Finding]:
    """Every finding of a run's own name; of its base as much as is here. Raises ReleaseError for a damaged file."""
    model = None
    if base.path is not None:
        with suppress(ReleaseError):  # it is told where the base is looked at
            model = read_base(DiskFiles(folder=base.path))
    return lint_names([named(run.name, RUN, config)], _run(run, base.id, model))


def lint_plan(plan: Plan, base: Held | None, exported: Collection[Path] = ()) -> list[Finding]:
    """Every finding of the runs of a plan, and of the names that it gives; of the exports that are there already, also
    what they hold. `base` is what the base model holds, as far as it is known."""
    runs = {target.run.path: target.run for target in plan.targets}.values()
    held = {run.path: _run(run, plan.base.id, base) for run in runs}
    findings = [finding for run in runs for finding in lint_names([named(run.name, RUN, plan.config)], held[run.path])]
    for target in plan.targets:
        if target.export_dir in exported:
            there = _exported(target.export_dir, plan.base.id, base)
        else:
            there = _planned(plan, target, held[target.run.path])
        findings += lint_names(list(_names(plan.config, target)), there)
    return without_repetition(findings)


def _run(run: Run, base_id: str, base: Held | None) -> Held:
    held = read_run(DiskFiles(folder=run.path))
    return replace(held, base_ids=(base_id,)) if base is None else with_base(held, base, base_id)


def _planned(plan: Plan, target: Target, run: Held) -> Held:
    """What an export of a run will hold."""
    facts = target.policy.format.facts(target.variant)
    will_hold = ADAPTER if facts.relation == ADAPTED else _LOADED_BY.get(facts.library_name)
    quant = target.variant.quant
    return replace(
        run,
        where="the plan",
        holds=frozenset({will_hold} if will_hold else ()),
        quant=Fact(quant.upper(), "the plan") if quant else None,
        version=Fact(plan.version, f"the tag {plan.tag.name}" if plan.tag else "the plan"),
    )


def _exported(folder: Path, base_id: str, base: Held | None) -> Held:
    files = DiskFiles(folder=folder)
    held = with_manifest(read_held(files), document_in(files, MANIFEST_FILE))
    return held if base is None else with_base(held, base, base_id)


def _names(config: Config, target: Target) -> Iterator[Named]:
    # The rules of places were asked when the plan was made.
    parts: Sequence[tuple[str, str]] = (
        (target.export_dir.name, EXPORT),
        (target.artifact.name, ARTIFACT),
        (target.repo_id, REPO),
    )
    for text, what in parts:
        yield named(text, what, config)
