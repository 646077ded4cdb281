"""The steps that show what exports answer: base + adapter first, then each export along what that says."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec.structs import replace

from tagship.artifacts.manifest import with_evidence, write_manifest
from tagship.formats.protocol import Format
from tagship.policy.verify import GENERAL_PROMPTS, QUICK, THOROUGH, VerifyPolicy
from tagship.release.by_file import check_sent
from tagship.release.diagnosis import diagnosed
from tagship.release.evaluating import evaluate_export
from tagship.release.four_bit import compare_bases
from tagship.release.jobs import job_of
from tagship.release.native import NativeError, NotAskable, ask_natively
from tagship.release.plan import Plan
from tagship.release.results import Answered, Exported, Fetched, Results, Sent, Verified
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.release.trained import (
    base_alone,
    drafting,
    export_model,
    fair_rounds,
    follow,
    parameters_of,
    reference_model,
    trained_model,
)
from tagship.runs.base_folder import BaseFolder, vocabulary_rows
from tagship.runs.model_files import context_length, model_files
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.pool import cores
from tagship.system.templating import human_time
from tagship.verify.comparison import Trial, check_trial, compare
from tagship.verify.drafting import ROUNDS
from tagship.verify.evidence import FAILED, PASSED, UNTESTED, Evidence
from tagship.verify.influence import check_influence, telling
from tagship.verify.measured_text import (
    LONGEST_READ,
    MOST_TOKENS,
    SPEED,
    digest_of,
    first_tokens,
    read_text,
    shipped_text,
    usual_tokens,
)
from tagship.verify.prompts import compare_prompts
from tagship.verify.questions import Answers, Limits, Questions, Tokens
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.registry import find_runtime, reference_runtime
from tagship.weights.checkpoint import open_checkpoint

# Seconds until libraries are loaded; tokens of a prompt.
_START, _PROMPT = 8, 40


def examine_model(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Raise ReleaseError, before anything is exported, for what cannot be run or converted."""
    base = done.one(Fetched).base
    with trained_model(plan, base) as subject, tools.console.working("looking at the trained model"):
        tools.runtimes.examine(reference_runtime().name, subject)
    for form in {target.policy.name: target.policy.format for target in plan.targets}.values():
        jobs = [
            job_of(plan, target, base, tools.templates) for target in plan.targets if target.policy.name == form.name
        ]
        with tools.console.working(f"looking at what {form.name} needs"), _about(form):
            form.examine(jobs)
    return iter(())


@contextmanager
def _about(form: Format) -> Iterator[None]:
    """Says which format a refusal is of: the remedy of some is to leave it out."""
    try:
        yield
    except ReleaseError as error:
        raise type(error)(f"{form.name}: {error}", remedy=error.remedy) from error


def answer_as_trained(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """What base + adapter answers, and the text that it is measured by."""
    tools.checks.begin()
    policy, base = plan.config.verify, done.one(Fetched).base
    questions = Questions(prompts=policy.prompts, max_tokens=policy.tokens_of(plan.extent), moment=plan.moment)
    with tools.console.working("base + adapter answers", _START + _seconds(plan, base)), ExitStack() as stack:
        # What writes drafts may have to be made: the libraries of the others are loaded meanwhile.
        with drafting(plan, done, tools, questions) as drafter:
            reference = reference_model(plan, base, tools)
            alone = stack.enter_context(base_alone(plan, base, tools))
            longest = min(context_length(model_files(base, plan.run.path)) or LONGEST_READ, LONGEST_READ)
            text, digest = _text(policy, reference, _tokens_of_text(plan, base), longest)
            compared: list[Tokens] = []

            def first_pass(first: Sequence[Tokens]) -> None:
                compared.append(telling(first, vocabulary_rows(base.path)))
                alone.expect(compared)
                reference.expect(text)

            rounds = ROUNDS if plan.extent == THOROUGH else fair_rounds(open_checkpoint(base.path).nbytes)
            answers = follow(done, reference, drafter, questions, rounds=rounds, first_pass=first_pass)
        trial = Trial(questions=questions, answers=answers, text=text, digests=_digests(answers, digest))
        check_trial(trial)
        for along in compared:
            check_influence(reference, alone, along)
    tokens = sum(len(sequence.looked_at) for sequence in text)
    tools.console.note(f"{trial.tokens} tokens of answers to {len(answers)} prompts, {tokens} tokens of text")
    if policy.asks_in_general:
        tools.console.note(GENERAL_PROMPTS)
    whole = all(answer.ended or len(answer.ids) == questions.max_tokens for answer in answers)
    if drafter and rounds < ROUNDS and not whole:
        tools.console.note(f"answers end where {rounds} drafts of them ended; --thorough follows them further")
    yield Answered(trial=trial, four_bit=compare_bases(plan, base, tools, trial))


def predicted(plan: Plan, base: BaseFolder) -> str:
    """What comparing will take, in a line: the tokens that are read, and about how long."""
    asked, text = _most_tokens(plan, base)
    models = 1 + len({(target.policy.format.runtime, target.variant.quant) for target in plan.targets})
    seconds = models * _seconds(plan, base)
    time = human_time(_START + seconds / 2, _START + seconds * 2)
    return f"comparing reads up to {asked} tokens of questions and answers and {text} of text in each model: {time}"


def _most_tokens(plan: Plan, base: BaseFolder) -> tuple[int, int]:
    """The tokens of questions and answers, and of text, that each model reads at most."""
    policy = plan.config.verify
    asked = len(policy.prompts) * (_PROMPT + policy.tokens_of(plan.extent))
    return asked, min(_tokens_of_text(plan, base), MOST_TOKENS)


def _seconds(plan: Plan, base: BaseFolder) -> float:
    """About how long one model takes for them."""
    asked, text = _most_tokens(plan, base)
    return 2 * parameters_of(base) * (2 * asked + text) * 2 / cores() / SPEED


def verify_export(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    """Hold an export against base + adapter; what that showed is recorded in its manifest."""
    tools.checks.wait(target)
    exported = done.for_target(Exported, target)
    sent = done.find(Sent, target)
    try:
        if sent:
            with tools.console.working(f"{target.name} is made again, to see that it is what was sent"):
                check_sent(plan, target, done, tools)
        evidence = _verified(plan, target, done, tools)
        evidence = replace(evidence, evaluation=evaluate_export(plan, target, done, tools))
    except ReleaseError as refused:
        # Of what was sent, nothing is here that could be held against another one.
        error = refused if sent else diagnosed(refused, plan, exported, done.one(Fetched).base, tools)
        evidence = _failed(plan, target, tools, Evidence(outcome=FAILED), error)
    else:
        try:
            evidence = replace(evidence, native=ask_natively(plan, target, done, tools, limits_of(plan, target)))
            tools.console.note(f"{target.name}: {evidence.summary}")
        except NativeError as error:
            evidence = _failed(plan, target, tools, evidence, error)
    evidence = replace(evidence, date=plan.moment.isoformat(), four_bit=done.one(Answered).four_bit)
    manifest = with_evidence(exported.manifest, evidence)
    write_manifest(exported.folder, manifest)
    yield replace(exported, manifest=manifest)
    yield Verified(target=target, evidence=evidence)


def _failed(plan: Plan, target: Target, tools: Tools, evidence: Evidence, error: ReleaseError) -> Evidence:
    """Evidence that says what stood against an export, where the policy lets that go out; else the error is raised."""
    if plan.config.verify.required:
        raise error
    outcome = UNTESTED if isinstance(error, ToolError) else FAILED
    why = error.why if isinstance(error, NotAskable) else str(error).split("\n")[0]
    evidence = replace(evidence, outcome=outcome, why=why)
    tools.console.warn(f"{target.name}: {outcome}: {error}", "[verify] required is false, so it goes on")
    return evidence


def limits_of(plan: Plan, target: Target) -> Limits:
    """How far an export may be from base + adapter: as the policy says, else its format."""
    limits = target.policy.format.limits_of(target.policy.settings, target.variant)
    return plan.config.verify.limited(limits, target.variant.quant)


def _verified(plan: Plan, target: Target, done: Results, tools: Tools) -> Evidence:
    base, form, trial = done.one(Fetched).base, target.policy.format, done.one(Answered).trial
    exported = done.for_target(Exported, target)
    job = job_of(plan, target, base, tools.templates, exported.manifest)
    reference = reference_runtime()
    known = Evidence(
        outcome=PASSED,
        reference=f"{reference.name} ({reference.version})",
        digests=trial.digests,
        quick=plan.extent == QUICK,
    )
    if form.check_copy(job, exported.folder):
        return replace(known, copied=True, prompts=len(trial.answers), example=trial.example())
    runtime = find_runtime(form.runtime)
    with tools.console.working(f"{target.name} answers", _seconds(plan, base)):
        with export_model(plan, target, done, tools, trial.questions) as (subject, model):
            what = f"the {target.name} export"
            found = compare(reference_model(plan, base, tools), model, trial, limits_of(plan, target), what)
        unlike = _unlike(subject, form, tools, what)
    for note in subject.notes:
        tools.console.note(f"{target.name}: {note}")
    if unlike:
        tools.console.note(f"{target.name}: {form.runtime} makes prompts of its own of {', '.join(unlike)}")
    return replace(
        found,
        runtime=f"{runtime.name} ({runtime.version})" + (f", {subject.how}" if subject.how else ""),
        reference=known.reference,
        digests=known.digests,
        quick=known.quick,
        unlike=unlike,
    )


def _unlike(subject: Subject, form: Format, tools: Tools, what: str) -> tuple[str, ...]:
    """The conversations of which the runtime makes another prompt than the model's own chat template."""
    expected = [prompt for prompt in subject.prompts if prompt.text is not None]  # others the template itself refuses
    if not expected:
        return ()
    conversations = tuple(prompt.conversation for prompt in expected)
    return compare_prompts(expected, tools.runtimes.prompts(form.runtime, subject, conversations), what)


# Text


def _text(policy: VerifyPolicy, reference: Model, most: int, longest: int) -> tuple[tuple[Tokens, ...], str]:
    """Passages of the text, `most` tokens in all and of each no more than `longest`, and the digest of all of it."""
    passages = read_text(policy.text) if policy.text else shipped_text()
    return first_tokens(reference.spell(passages) if most else (), most, longest), digest_of(passages)


def _tokens_of_text(plan: Plan, base: BaseFolder) -> int:
    """As many as are read in a fair time."""
    return plan.config.verify.text_of(plan.extent, usual_tokens(parameters_of(base)))


def _digests(answers: Answers, text: str) -> dict[str, str]:
    asked = json.dumps([answer.asked.prompt for answer in answers])
    return {"prompts": hashlib.sha256(asked.encode()).hexdigest(), "text": text}
