"""What a run's exports would cost, and whether its adapter fits its base: the formats' own predictions."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from filecmp import cmp
from functools import partial
from pathlib import Path

from msgspec import Struct

from tagship.formats.model_folder import open_weights, tokens_of
from tagship.formats.protocol import ExportJob, Lineage
from tagship.naming.variant import Variant
from tagship.policy.config import EMBEDDED, Config
from tagship.policy.formats import FormatPolicy
from tagship.release.examination.facts import Cost, Fit
from tagship.release.finding import Problem
from tagship.release.room import check_download, check_room
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import CONFIG_FILE, TOKENIZER_FILE, model_files
from tagship.runs.run import Run
from tagship.system.errors import ReleaseError
from tagship.system.files import size_of_leftovers
from tagship.system.json_files import read_object
from tagship.system.machine import available_memory, device_of
from tagship.system.templating import Templates, human_size
from tagship.verify.runtimes.registry import memory_to_compare
from tagship.weights.merge import MergedWeights
from tagship.weights.tied_embeddings import embeddings_of, is_head, says_tied


class Costing(Struct, frozen=True, kw_only=True):
    """A run, and what would be exported of it; names play no part."""

    config: Config
    run: Run
    chosen: Sequence[tuple[FormatPolicy, tuple[Variant, ...]]]
    templates: Templates

    def jobs(self, base: BaseFolder) -> list[tuple[FormatPolicy, ExportJob]]:
        return [(policy, self._job(policy, variant, base)) for policy, variants in self.chosen for variant in variants]

    def _job(self, policy: FormatPolicy, variant: Variant, base: BaseFolder) -> ExportJob:
        return ExportJob(
            run=self.run,
            base=base,
            variant=variant,
            settings=policy.settings,
            policy=self.config.export,
            title=self.run.name,
            repo_id=f"{self.config.namespace}/{self.run.name}",
            lineage=Lineage(parent=base.id, relation=policy.format.facts(variant).relation),
            version=None,
            moment=datetime.now(UTC),
            namespace=self.config.namespace,
            templates=self.templates,
        )


def fit_of(costing: Costing, base: BaseFolder) -> tuple[Fit | None, Problem | None]:
    """How the adapter fits the base and its tokenizer, or why not."""
    job = costing.jobs(base)[0][1]
    try:
        weights = open_weights(job)
        sources = model_files(base, job.run.path).sources
        ours, theirs = sources.get(TOKENIZER_FILE), base.path / TOKENIZER_FILE
        tokens = tokens_of(ours) if ours else 0
        same = ours is not None and theirs.is_file() and cmp(ours, theirs, shallow=False)
        return _fit(weights, tokens, tokens if same else tokens_of(theirs)), None
    except ReleaseError as error:
        return None, Problem.of(error)


def costs_of(costing: Costing, base: BaseFolder) -> tuple[Cost, ...]:
    """The cost of each export of the policy, in its order."""
    return tuple(_cost(policy, job) for policy, job in costing.jobs(base))


def room_problems(costing: Costing, costs: Sequence[Cost], to_fetch: int) -> tuple[Problem, ...]:
    """Where a disk or the memory of this machine would not suffice for a release of all of it."""
    config = costing.config
    disk = sum(cost.disk or 0 for cost in costs)
    needed: dict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    for folder in (config.exports, config.artifacts, *((config.state,) if config.endpoint == EMBEDDED else ())):
        needed[device_of(folder)] += disk
        folders.setdefault(device_of(folder), folder)
    needed[device_of(config.exports)] -= size_of_leftovers(config.exports)
    problems = []
    checks: list[Callable[[], None]] = [
        *(partial(check_room, folders[device], size, "the release") for device, size in needed.items()),
        partial(check_download, to_fetch),
        partial(_check_memory, costs),
    ]
    for check in checks:
        try:
            check()
        except ReleaseError as error:
            problems.append(Problem.of(error))
    return tuple(problems)


def _check_memory(costs: Sequence[Cost]) -> None:
    free = available_memory()
    for cost in costs:
        for what, size in ((f"the {cost.name} export", cost.memory), ("comparing answers", cost.verify_memory)):
            if size and size > free:
                raise ReleaseError(
                    f"{what} needs {human_size(size)} of memory, and {human_size(free)} is available",
                    remedy="close other programs, raise the limit, or use a larger machine",
                )


def _cost(policy: FormatPolicy, job: ExportJob) -> Cost:
    name, quant = policy.name, job.variant.quant
    try:
        footprint = policy.format.footprint(job)
        comparing = memory_to_compare(policy.format.runtimes(native=False), job.base.path)
    except ReleaseError as error:
        return Cost(format=name, quant=quant, refused=Problem.of(error))
    return Cost(
        format=name,
        quant=quant,
        disk=footprint.disk,
        memory=footprint.memory,
        seconds=footprint.seconds,
        verify_memory=comparing,
    )


def _fit(weights: MergedWeights, tokens: int, base_tokens: int) -> Fit:
    entries = weights.base.entries()
    vocabulary = [*embeddings_of(entries), *filter(is_head, entries)]
    embedding = next(iter(embeddings_of(entries)), None)
    return Fit(
        parameters=len(weights.adapter.parameters),
        renamed=_renamed(weights),
        tied=not any(map(is_head, entries)) or says_tied(read_object(weights.base.folder / CONFIG_FILE)) is True,
        touches_vocabulary=any(name in weights.changed for name in (*vocabulary, *(weights.untied or ()))),
        untied=weights.untied is not None,
        rows=entries[embedding].shape[0] if embedding else None,
        merged_rows=weights.outputs[embedding].shape[0] if embedding else None,
        tokens=tokens,
        base_tokens=base_tokens,
    )


def _renamed(weights: MergedWeights) -> tuple[str, str] | None:
    """The first parameter that the base's files have under another name, and that name."""
    for parameter in weights.adapter.parameters:
        if parameter not in weights.changed:
            end = ".".join(parameter.split(".")[-3:])
            other = next((name for name in sorted(weights.changed) if name.endswith(end)), None)
            return (parameter, other) if other else None
    return None
