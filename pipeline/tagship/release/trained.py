"""Base + adapter as the steps of a release run it, and what drafts answers for it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from tagship.formats.protocol import NF4, Footprint
from tagship.formats.registry import all_formats
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.results import Exported, Fetched, Results, Sent
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import CONFIG_FILE, model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder
from tagship.system.json_files import read_object
from tagship.system.machine import available_memory, memory_of_children
from tagship.verify.drafting import ROUNDS, FirstPass, follow_answers, memory_beside
from tagship.verify.questions import Answers, Questions
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.registry import find_runtime, reference_runtime
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_weights

# A model of up to so many parameters writes its answers by itself in a time that nobody minds; one of a tenth, sooner
# than a draft is read.
_SMALL, _TINY = 250_000_000, 25_000_000
# Tokens of an answer, where nothing faster writes it and each takes a pass over the whole model.
_FEW = 16
# A draft is as good as the model that writes it is like the other: the largest GGUF up to this share of the base.
_DRAFTS = 0.6
# Bytes of a base that are read to prove drafts, where that is more than some rounds.
_READ, _LEAST_ROUNDS = 64 << 30, 4

# Base + adapter


def reference_model(plan: Plan, base: BaseFolder, tools: Tools) -> Model:
    """Base + adapter in their runtime: loaded once, and kept for what is compared with it."""
    with trained_model(plan, base) as subject:
        return tools.runtimes.kept(reference_runtime().name, subject)


@contextmanager
def trained_model(plan: Plan, base: BaseFolder) -> Iterator[Subject]:
    """Base + adapter, with the tokenizer, template and end tokens of the run, as the exports have them."""
    files = model_files(base, plan.run.path)
    with scratch_folder("tagship-tokenizer") as folder:
        files.write(folder, files.of_the_tokenizer)
        yield Subject(
            what="base + adapter",
            model=base.path,
            adapter=plan.run.path,
            tokenizer=folder,
            trust_remote_code=base.trust_remote_code,
            nf4=plan.run.nf4 if plan.config.export.base == NF4 else None,
        )


@contextmanager
def trained_in_nf4(plan: Plan, base: BaseFolder, tools: Tools) -> Iterator[Model]:
    """Base + adapter with the base in the 4 bits that the adapter was trained on."""
    with trained_model(plan, base) as trained:
        in_4bit = replace(trained, what="base in NF4 + adapter", nf4=plan.run.nf4)
        with tools.runtimes.model(reference_runtime().name, in_4bit) as model:
            yield model


@contextmanager
def base_alone(plan: Plan, base: BaseFolder, tools: Tools) -> Iterator[Model]:
    """The base without the adapter, in the same runtime."""
    with trained_model(plan, base) as trained:
        alone = replace(trained, what="the base model", adapter=None)
        with tools.runtimes.model(reference_runtime().name, alone) as model:
            yield model


@contextmanager
def export_model(
    plan: Plan, target: Target, done: Results, tools: Tools, questions: Questions
) -> Iterator[tuple[Subject, Model]]:
    """An export in its format's runtime, beside what it needs where it is no model by itself."""
    form, exported = target.policy.format, done.for_target(Exported, target)
    tools.checks.wait(target)
    job = job_of(plan, target, done.one(Fetched).base, tools.templates, exported.manifest)
    subject = form.subject(job, exported.folder, questions)
    if done.find(Sent, target):
        subject = form.remade(job, subject)
    if not form.whole:
        subject = form.beside(job, subject, tools.scratch.inside(plan.config.exports))
    with tools.runtimes.model(form.runtime, subject) as model:
        yield subject, model


def parameters_of(base: BaseFolder) -> int:
    """How many parameters a base has."""
    return sum(entry.elements for entry in open_checkpoint(base.path).entries().values())


# Drafts


@contextmanager
def drafting(plan: Plan, done: Results, tools: Tools, questions: Questions) -> Iterator[Model | None]:
    """What writes drafts of answers: an export of this release that generates, else one that is made for it; None
    where the model itself is as fast, or nothing else can."""
    with ExitStack() as stack:
        yield _drafter(plan, done, tools, questions, stack)


def follow(
    done: Results,
    model: Model,
    drafter: Model | None,
    questions: Questions,
    *,
    rounds: int = ROUNDS,
    first_pass: FirstPass | None = None,
) -> Answers:
    """The greedy answers of a model that is run as base + adapter is, as far as they can be followed; `rounds` and
    `first_pass` as `follow_answers` has them."""
    most = questions.max_tokens if drafter or is_small(done) else min(questions.max_tokens, _FEW)
    return follow_answers(model, drafter or model, questions, most, rounds=rounds, first_pass=first_pass)


def fair_rounds(base_size: int) -> int:
    """How many drafts of an answer are proven in a fair time: each reads a base of so many bytes, a large one from the
    disk. Its size alone says it, so that all machines compare along the same answers."""
    return max(_LEAST_ROUNDS, min(ROUNDS, _READ // base_size))


def is_small(done: Results) -> bool:
    """Whether the model writes whole answers by itself."""
    return parameters_of(done.one(Fetched).base) <= _SMALL


def _drafter(plan: Plan, done: Results, tools: Tools, questions: Questions, stack: ExitStack) -> Model | None:
    base = done.one(Fetched).base
    if parameters_of(base) <= _TINY:
        return None
    exports = [each for each in done.of(Exported) if _generates(each.target)]
    sizes = [exported.manifest.size for exported in exports]
    room = _room_to_draft(base, plan.run.path)
    place = best_draft(sizes, open_checkpoint(base.path).nbytes, room)
    if place is None and not is_small(done):
        made = _made_draft(plan, base, tools, questions, room, stack)
        if made is not None:
            return made
    if not exports:
        return None
    chosen = exports[sizes.index(min(sizes)) if place is None else place]
    return stack.enter_context(export_model(plan, chosen.target, done, tools, questions))[1]


def _generates(target: Target) -> bool:
    """Whether an export writes answers, and is a model by itself."""
    form = target.policy.format
    return form.whole and find_runtime(form.runtime).generates


def best_draft(sizes: Sequence[int], base_size: int, room: int) -> int | None:
    """Which of models of so many bytes is to write drafts: a large one is the most like the base, of `base_size`, but
    not faster. None where none is within `room`, so that it would be read from the disk for each token."""
    within = [size for size in sizes if size <= room]
    if not within:
        return None
    fitting = [size for size in within if size <= _DRAFTS * base_size]
    return sizes.index(max(fitting) if fitting else min(within))


def _room_to_draft(base: BaseFolder, adapter: Path) -> int:
    """The bytes that a model which writes drafts may have. The processes of both models may be there already, and may
    have loaded their libraries, or some of them: what they have is theirs in any case."""
    numbers = sum(entry.elements for entry in read_weights(adapter).tensors.values())
    memory = available_memory() + memory_of_children()
    return max(0, memory - memory_beside(read_object(base.path / CONFIG_FILE), numbers))


def draft_target(base: BaseFolder, adapter: Path, footprints: Sequence[tuple[Target, Footprint]]) -> Target | None:
    """Which of a release's exports is to write drafts, by what they will take: those who make only another one make it,
    too, so that they ask for the same answers. None where none is needed, or none would be used."""
    if parameters_of(base) <= _TINY:
        return None
    writing = [(each, needs) for each, needs in footprints if _generates(each)]
    sizes = [needs.disk for _, needs in writing]
    place = best_draft(sizes, open_checkpoint(base.path).nbytes, _room_to_draft(base, adapter))
    return None if place is None else writing[place][0]


def _made_draft(
    plan: Plan, base: BaseFolder, tools: Tools, questions: Questions, room: int, stack: ExitStack
) -> Model | None:
    """A model that is made to write drafts, and removed afterwards."""
    job = job_of(plan, plan.targets[0], base, tools.templates)
    plan.config.exports.mkdir(parents=True, exist_ok=True)
    for form in all_formats():
        folder = stack.enter_context(scratch_folder("draft", plan.config.exports))
        try:
            subject = form.draft(job, folder, questions, room)
            if subject is not None:
                return stack.enter_context(tools.runtimes.model(form.runtime, subject))
        except ReleaseError as error:  # it is only for drafts: the model writes them by itself
            tools.console.note(f"no draft is made by {form.name}: {str(error).splitlines()[0]}")
    return None
