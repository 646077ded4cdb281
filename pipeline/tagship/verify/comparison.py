"""Does an export answer like base + adapter?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise

import numpy as np
from msgspec import Struct, field

from tagship.system.errors import ReleaseError
from tagship.verify.evidence import PASSED, Evidence, Example, Measured
from tagship.verify.measures import PerToken, per_token
from tagship.verify.questions import Answer, Answers, Limits, Questions, Tokens
from tagship.verify.runtimes.protocol import Model

# Two tokens whose log-probabilities differ by less than this are a tie: rounding the merged
# weights to the base's 16 bits, which every merge does, may decide it either way.
TIE = 0.02
# With fewer tokens of answers nothing is shown.
_LEAST = 8
# What mends an export that was damaged.
AGAIN = "nothing was published; export it again"


class Trial(Struct, frozen=True, kw_only=True):
    """What exports are held against: the questions, what base + adapter answers, and a `text`, whose tokens it reads.
    `digests` are the SHA-256 of what was asked, and of the whole text."""

    questions: Questions
    answers: Answers
    text: tuple[Tokens, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def example(self, same: Sequence[bool] | None = None) -> Example | None:
        """The first question whose answer says something, of those that are an export's own too (None: all are); one
        that was answered to the end, where there is any."""
        kept = same or [True] * len(self.answers)
        said = [
            Example(question=question, prompt=answer.asked.prompt, answer=answer.text, ended=answer.ended)
            for question, answer, own in zip(self.questions.prompts, self.answers, kept, strict=True)
            if own and answer.text.strip()
        ]
        return next((example for example in said if example.ended), said[0] if said else None)

    @property
    def tokens(self) -> int:
        """How many tokens the answers have in all."""
        return sum(len(answer.ids) for answer in self.answers)


def check_trial(trial: Trial) -> None:
    """Raise ReleaseError where so little was answered that nothing can be shown by it."""
    if trial.tokens < _LEAST and not all(answer.ended for answer in trial.answers):
        raise ReleaseError(
            f"untested: only {trial.tokens} tokens of what base + adapter answers could be followed",
            remedy="release a GGUF of 8 bits with it, which drafts answers (--quant q8_0), or follow them further with "
            "--thorough",
        )
    if not trial.tokens:
        raise ReleaseError(
            "untested: base + adapter answers nothing to any prompt",
            remedy="give [verify] prompts that it answers, or look at the end tokens in its generation config",
        )


def compare(reference: Model, model: Model, trial: Trial, limits: Limits, what: str) -> Evidence:
    """Hold an export against base + adapter, along the answers and the text of a trial.

    Raises ReleaseError that shows the first prompt where they differ too much.
    """
    for expected, given in zip(trial.answers, model.read(trial.questions), strict=True):
        _check_prompt(expected, given.ids, what)
    _check_ends(trial.answers, model, what)
    along = _along([answer.tokens for answer in trial.answers], trial.text, reference, model, what)
    each = list(_each(along, trial.answers))
    if limits.same_tokens:
        for answer, part in zip(trial.answers, each, strict=True):
            _check_tokens(answer, part, reference, what)
    same = [bool((part.given == np.array(answer.ids)).all()) for answer, part in zip(trial.answers, each, strict=True)]
    measured = along.part(0, trial.tokens).measured()
    text = along.part(trial.tokens, len(along.kl)).measured() if trial.text else None
    _check_measured({"tokens of answers": measured} | ({"tokens of text": text} if text else {}), limits, what)
    return Evidence(
        outcome=PASSED,
        prompts=len(trial.answers),
        same=sum(same),
        answers=measured,
        text=text,
        limits=limits,
        example=trial.example(same),
    )


def _along(answers: Sequence[Tokens], text: Sequence[Tokens], reference: Model, model: Model, what: str) -> PerToken:
    """What two models say of answers and text. The export reads both in one go, as each pass reads all of its weights;
    the reference knows the answers already, mostly, and reads the text by itself in any case: what is read together
    decides the last digits."""
    following = [token for sequence in (*answers, *text) for token in sequence.looked_at]
    expected = chain.from_iterable(reference.rows(part) for part in (answers, text) if part)
    try:
        return per_token(expected, model.rows([*answers, *text]), following, all_told=model.tells_all)
    except ValueError as error:
        raise _different(what, f"it did not give a distribution for each token: {error}") from error


def _each(along: PerToken, answers: Answers) -> Sequence[PerToken]:
    starts = np.cumsum([0, *(len(answer.ids) for answer in answers)])
    return [along.part(start, end) for start, end in pairwise(starts)]


def _check_measured(found: Mapping[str, Measured], limits: Limits, what: str) -> None:
    """Raise ReleaseError for the first that is beyond the limits, with a remedy that tells what all of them would
    need."""
    for of, measured in found.items():
        how = ""
        if not measured.kl <= limits.kl:  # also when it is not a number
            how = f"mean KL {measured.kl:.3g} nats over {measured.tokens} {of}; the limit is {limits.kl:g}"
        elif not measured.top1 >= (least := limits.top1_of(measured.tokens)):
            how = f"the likeliest token is the same for {measured.top1:.1%} of {measured.tokens} {of}"
            few = f", lowered to {least:.1%} as they are few" if least < limits.top1 else ""
            how += f"; the limit is {limits.top1:.1%}{few}"
        if how:
            raise _different(what, how, _limits_told(found.values(), limits.key) if limits.key else AGAIN)


def _limits_told(found: Iterable[Measured], key: str) -> str:
    """The remedy for a type that costs more than it may."""
    told = "nothing was published; export another type"
    kls, top1s = zip(*((each.kl, each.top1) for each in found), strict=True)
    if not all(map(math.isfinite, (*kls, *top1s))):  # which no limit allows
        return told
    return (
        f"{told}; if this one is good enough, {key} in release.toml sets kl and top1 for it, which are {max(kls):.3g} "
        f"and {min(top1s):.3g} here; the same command goes on where this one stopped"
    )


def _check_prompt(expected: Answer, given: tuple[int, ...], what: str) -> None:
    if expected.asked.ids != given:
        raise ReleaseError(
            f"{what} does not read prompts like base + adapter: {expected.asked.prompt!r} becomes the tokens "
            f"{_some(given)} instead of {_some(expected.asked.ids)}",
            remedy="its tokenizer or chat template is not the model's, which no limit allows: export it again; nothing "
            "was published",
        )


def _check_ends(answers: Answers, model: Model, what: str) -> None:
    """Answers end where the export's own files say so, and nowhere else."""
    ending = model.ends({token for answer in answers for token in answer.ids})
    for answer in answers:
        early = next((token for token in answer.ids[: len(answer.ids) - answer.ended] if token in ending), None)
        if early is not None:
            raise _ends_elsewhere(what, answer, f"goes on after token {early}, which ends an answer there")
        if answer.ended and answer.ids[-1] not in ending:
            raise _ends_elsewhere(what, answer, f"ends with token {answer.ids[-1]}, which does not end an answer there")


def _ends_elsewhere(what: str, answer: Answer, how: str) -> ReleaseError:
    return ReleaseError(
        f"{what} does not end answers like base + adapter: its answer {answer.text!r} to {answer.asked.prompt!r} {how}",
        remedy="its end tokens are not the model's, which no limit allows: export it again; nothing was published",
    )


def _check_tokens(answer: Answer, given: PerToken, reference: Model, what: str) -> None:
    """Equal token by token, up to a tie in the reference: what follows one is another answer."""
    for position, (wanted, got) in enumerate(zip(answer.ids, given.given.tolist(), strict=True)):
        if wanted == got:
            continue
        gap = float(given.gap[position])
        if gap <= TIE:
            return
        other = reference.text([*answer.ids[:position], got])
        answers = f"base + adapter answers\n  {answer.text!r}\nand the export begins\n  {other!r}"
        how = f"(token {position + 1} differs, by {gap:.3g} nats in the reference)"
        raise _different(what, f"to {answer.asked.prompt!r} {answers}\n{how}")


def _some(ids: tuple[int, ...]) -> str:
    return str(list(ids[:12])) + (" …" if len(ids) > 12 else "")


def _different(what: str, how: str, remedy: str = AGAIN) -> ReleaseError:
    return ReleaseError(f"{what} does not answer like base + adapter: {how}", remedy=remedy)
