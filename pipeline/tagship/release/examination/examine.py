"""Look at a run, its adapter and its base, from headers and configurations alone; nothing is fetched or written."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tagship.formats.vllm_adapters import serve_line, vllm_rank, vllm_refusals
from tagship.gguf.architectures import converter_support, text_architecture
from tagship.hub.base_questions import HubAnswer, ask_about
from tagship.hub.connection import Hub
from tagship.policy.config import Config
from tagship.release.examination.base import base_facts, license_facts, skeleton_of
from tagship.release.examination.costs import Costing, costs_of, fit_of, room_problems
from tagship.release.examination.facts import Examination, LlamaCppFacts, VllmFacts
from tagship.release.finding import Problem
from tagship.release.gates import check_task
from tagship.release.options import Options
from tagship.release.plan import choose_named_run, named_run
from tagship.release.targets import chosen_variants
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import model_files
from tagship.runs.numbers import check_numbers, declared_layers
from tagship.runs.run import Run, UnknownRun, choose_run, read_run
from tagship.system.deadline import begin
from tagship.system.errors import ReleaseError
from tagship.system.machine import available_memory, free_disk
from tagship.system.templating import Templates
from tagship.weights.adapter_config import AdapterConfig, read_adapter_config
from tagship.weights.adapter_facts import adapter_facts
from tagship.weights.base_names import layer_of
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import modules_of, read_weights
from tagship.weights.safetensors import Header

# Seconds for all that the Hub is asked at first; the questions themselves wait for less.
_PATIENCE = 4.0
# The package by whose presence a format needs llama.cpp's converter.
_CONVERTER = "conversion"


def examine_run(config: Config, options: Options, hub: Hub, templates: Templates) -> Examination:
    """Examine the run that the options name. Raises UsageError for options that do not fit the policy, ReleaseError
    where there is no such run: what is wrong with one that is there is in the facts."""
    path = _path_of(config, options)
    chosen = chosen_variants(config, options, None)
    found = Examination(run=path.name, path=str(path))
    try:
        adapter = read_adapter_config(path)
        weights = read_weights(path)
        adapter.check_patterns(modules_of(weights))
    except ReleaseError as error:
        return replace(found, adapter_problem=Problem.of(error))
    base: BaseModel | None = None
    try:
        base = _base(config, options, adapter)
        answer = _asked(base, hub)  # while all else is looked at
    except ReleaseError as error:
        found = replace(found, base_problem=Problem.of(error))
    run, naming_problem = _run(config, options, path, adapter)
    found = replace(
        found,
        run=run.name,
        adapter=adapter_facts(path, adapter, weights),
        naming_problem=naming_problem if base else None,
        quantized=run.quantized,
        task_problem=_problem(partial(check_task, run)),
        vllm=_vllm(run, weights, str(base.path or base.id) if base else adapter.base_model),
    )
    if base is None:
        return found
    costing = Costing(config=config, run=run, chosen=chosen, templates=templates)
    return _with_base(found, base, costing, answer())


def _with_base(found: Examination, base: BaseModel, costing: Costing, answer: HubAnswer) -> Examination:
    try:
        facts = base_facts(base, answer, costing.run.path, costing.run.adapter)
    except ReleaseError as error:
        return replace(found, base_problem=Problem.of(error))
    licensed = license_facts(base, facts.at_hand, answer)
    architecture = text_architecture(facts.config)
    found = replace(
        found,
        base=facts,
        license=licensed,
        layers=_layers(facts.config, facts.described.specs if facts.described else {}),
        llama_cpp=LlamaCppFacts(
            architecture=architecture,
            support=converter_support(architecture) if architecture else None,
            needed=any(_CONVERTER in policy.format.modules for policy, _ in costing.chosen),
        ),
        free={"memory": available_memory(), "disk": free_disk(costing.config.exports)},
    )
    if facts.described is None:
        return found
    try:
        with skeleton_of(facts, licensed) as folder:
            fit, problem = fit_of(costing, folder)
            costs = costs_of(costing, folder)
            numbers = _problem(partial(_check_numbers, folder, costing.run.path))
    except OSError as error:  # no room for headers, or no links, or no files of that length
        return replace(found, fit_problem=Problem(what=f"the base could not be laid out to be looked at: {error}"))
    room = room_problems(costing, costs, facts.to_fetch)
    return replace(found, fit=fit, fit_problem=problem, costs=costs, room_problems=room, numbers_problem=numbers)


def _check_numbers(base: BaseFolder, run: Path) -> None:
    check_numbers(model_files(base, run), open_checkpoint(base.path).entries())


def _asked(base: BaseModel, hub: Hub) -> Callable[[], HubAnswer]:
    """Begin to ask the Hub; returns what waits for its answer."""
    if base.path is not None and base.revision is None:
        return lambda: HubAnswer(why_not="it is a folder here, and nothing says which revision it is")
    wait = begin(lambda: ask_about(base, hub))

    def answer() -> HubAnswer:
        said = wait(_PATIENCE)
        if isinstance(said, HubAnswer):
            return said
        return HubAnswer(why_not=str(said) if said else f"the Hub did not answer within {_PATIENCE:g} seconds")

    return answer


def _path_of(config: Config, options: Options) -> Path:
    try:
        return choose_run(config.runs, config.naming, options.run)
    except UnknownRun:  # perhaps the name that the policy gives it
        return choose_named_run(config, options, options.run)[0].path


def _run(config: Config, options: Options, path: Path, adapter: AdapterConfig) -> tuple[Run, Problem | None]:
    """The run as a release has it; where it cannot be named, the reason, and the run by its folder's name."""
    try:
        return named_run(config, options, path)[0], None
    except ReleaseError as error:
        problem = Problem.of(error)
    bare = Run(name=path.name, path=path, adapter=adapter, fields={}, recorded={})
    with suppress(ReleaseError):
        bare = read_run(path, config.naming)
    with suppress(ReleaseError):
        _base(config, options, adapter)
        return bare, problem
    return bare, None  # it is the base that is not known, which is told as that


def _base(config: Config, options: Options, adapter: AdapterConfig) -> BaseModel:
    reference = options.base or adapter.base_model
    return resolve_base(reference, None if options.base else adapter.revision, config.bases, config.root)


def _problem(check: Callable[[], None]) -> Problem | None:
    try:
        check()
    except ReleaseError as error:
        return Problem.of(error)
    return None


def _vllm(run: Run, weights: Header, base: str) -> VllmFacts:
    if refusals := vllm_refusals(run.adapter, weights):
        return VllmFacts(refusals=refusals, max_lora_rank=None, command=None)
    return VllmFacts(
        refusals=(),
        max_lora_rank=vllm_rank(run.adapter.largest_rank),
        command=serve_line(base, run.name, str(run.path), run.adapter),
    )


def _layers(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> int | None:
    """How many layers the text part of a base has."""
    if (declared := declared_layers(config)) is not None:
        return declared
    numbers = [number for name in tensors if (number := layer_of(name)) is not None]
    return 1 + max(numbers) if numbers else None
