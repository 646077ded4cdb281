"""Does an export answer like base + adapter? What passes, what is refused, and what the message shows."""

import numpy as np
import pytest
from msgspec.structs import replace
from tagship.system.errors import ReleaseError
from tagship.verify.comparison import TIE, Trial, check_trial, compare
from tagship.verify.evidence import PASSED, Evidence
from tagship.verify.influence import check_influence, telling
from tagship.verify.questions import Answer, Limits, Questions, Tokens

from tests.verify.models import COLUMNS, Array, Told, answered

EXACT = Limits(kl=0.01, same_tokens=True)
LOOSE = Limits(kl=0.5, same_tokens=False, key="[verify.limits.q4_0]")
# After the prompt, which ends with 5: 1 2 3 0.
AFTER = {5: 1, 1: 2, 2: 3, 3: 0}
ANSWER = answered(1, 2, 3, 0, ended=True)
TEXT = Tokens(ids=(1, 2, 3, 1, 2), since=1)


def trial(*answers: Answer, text: tuple[Tokens, ...] = ()) -> Trial:
    return Trial(questions=Questions(prompts=("why?",) * len(answers), max_tokens=9), answers=answers, text=text)


def held(model: Told, limits: Limits = EXACT, asked: Trial | None = None) -> Evidence:
    return compare(Told(after=AFTER), model, asked or trial(ANSWER), limits, "the test export")


def refused(model: Told, limits: Limits = EXACT, asked: Trial | None = None) -> ReleaseError:
    with pytest.raises(ReleaseError, match=r"the test export does not .* like base \+ adapter") as caught:
        held(model, limits, asked)
    assert caught.value.remedy and "nothing was published" in caught.value.remedy
    return caught.value


def test_equal_models() -> None:
    """Equal answers pass; the evidence counts prompts and tokens, of answers and of the text apart."""
    evidence = held(Told(after=AFTER), asked=trial(ANSWER, answered(1, 2), text=(TEXT, TEXT)))
    assert evidence.answers and evidence.text
    assert (evidence.outcome, evidence.prompts, evidence.same) == (PASSED, 2, 2)
    assert (evidence.answers.tokens, evidence.text.tokens) == (6, 8)
    assert evidence.answers.kl == pytest.approx(0, abs=1e-7)
    assert evidence.example and (evidence.example.question, evidence.example.answer) == ("why?", "1 2 3 0")


def test_example_that_ends() -> None:
    """An answer that was followed to its end is a better example than one that was cut off before it."""
    asked = trial(replace(ANSWER, ended=False), ANSWER)
    prompts = replace(asked.questions, prompts=("why?", "how?"))
    example = replace(asked, questions=prompts).example()
    assert example and example.ended and example.question == "how?"
    cut = trial(replace(ANSWER, ended=False), replace(ANSWER, ended=False)).example()
    assert cut and not cut.ended


def test_evidence_is_data() -> None:
    """What is recorded is read again as it was, and reads as one line."""
    evidence = replace(held(Told(after=AFTER, other=0.02), LOOSE, trial(ANSWER, text=(TEXT,))), unlike=("tools",))
    assert Evidence.of(evidence.document()) == evidence
    assert evidence.summary.startswith("1 of 1 greedy answers equal, mean KL 0.0")
    tied = replace(evidence, prompts=3, limits=replace(evidence.limits, same_tokens=True))
    assert tied.summary.startswith("1 of 3 greedy answers equal, the others up to ties, mean KL 0.0")
    assert Evidence.of(Evidence(outcome="untested", why="no").document()).summary == "untested: no"


def test_different_tokens_are_refused_with_both_texts() -> None:
    """Another answer is refused, and the message shows the prompt, both texts, the token and the gap."""
    message = str(refused(Told(after=AFTER | {1: 4})))
    for shown in ("<why?>", "'1 2 3 0'", "'1 4'", "token 2 differs", "4.55 nats"):
        assert shown in message


def test_different_tokens_may_be_allowed() -> None:
    """Where equal tokens are not asked for another answer passes, is not counted, and is no example."""
    evidence = held(Told(after=AFTER | {1: 4}), replace(LOOSE, kl=9))
    assert (evidence.same, evidence.prompts, evidence.example) == (0, 1, None)


@pytest.mark.parametrize(("gap", "passes"), [(TIE / 2, True), (TIE * 2, False)])
def test_ties(gap: float, passes: bool) -> None:
    """Two tokens whose log-probabilities hardly differ may be taken for each other; what follows is another answer."""
    rows = np.zeros((4, COLUMNS), np.float32)
    rows[range(4), [1, 2, 3, 0]] = gap
    export = Told(logits=np.roll(rows, 1, axis=1))
    reference = Told(logits=rows)
    if passes:
        assert compare(reference, export, trial(ANSWER), EXACT, "the test export").same == 0
    else:
        with pytest.raises(ReleaseError, match="token 1 differs"):
            compare(reference, export, trial(ANSWER), EXACT, "the test export")


def test_different_prompt_tokens() -> None:
    """Other tokens of the prompt are refused before any answer is looked at, and no limit is offered for it."""
    error = refused(Told(after=AFTER, reads={"why?": tuple(range(20))}), LOOSE)
    for shown in ("<why?>", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] …", "[4, 5]"):
        assert shown in str(error)
    assert error.remedy and "tokenizer or chat template" in error.remedy and "[verify" not in error.remedy


@pytest.mark.parametrize(("stops", "words"), [((), "ends with token 0"), ((0, 2), "goes on after token 2")])
def test_ends_of_answers(stops: tuple[int, ...], words: str) -> None:
    """An export whose files end answers elsewhere is refused, with the token."""
    error = refused(Told(after=AFTER, stops=stops), LOOSE)
    assert words in str(error) and error.remedy and "[verify" not in error.remedy


def test_limits() -> None:
    """A divergence over the limit, or too few equal likeliest tokens, are refused with both numbers, and with the table
    that sets others; at the limit they pass."""
    far = Told(after=AFTER, other=0.15)
    error = refused(far, replace(LOOSE, kl=0.1))
    assert "over 4 tokens of answers; the limit is 0.1" in str(error)
    assert error.remedy and "[verify.limits.q4_0]" in error.remedy
    other = Told(after=AFTER | {1: 4})
    asked = trial(answered(*[1, 2] * 50), text=(Tokens(ids=(1, 2, 3), since=1),))
    error = refused(other, replace(LOOSE, kl=9, top1=0.7), asked)
    assert "same for 50.0% of 100 tokens of answers; the limit is 70.0%, lowered to 60.8% as they are few" in str(error)
    assert held(other, replace(LOOSE, kl=9, top1=0.5), asked).text


@pytest.mark.parametrize(("tokens", "least"), [(4, 0.6), (100, 0.84), (10_000, 0.894)])
def test_few_tokens(tokens: int, least: float) -> None:
    """Of few tokens a smaller share may be the same: chance alone takes that from an export at the limit."""
    assert Limits(kl=1, same_tokens=False, top1=0.9).top1_of(tokens) == pytest.approx(least)
    assert Limits(kl=1, same_tokens=False).top1_of(tokens) == 0


def test_text_counts_too() -> None:
    """An export that answers right and reads the text otherwise is refused."""
    asked = trial(ANSWER, text=(Tokens(ids=(4, 4, 4), since=1),))
    assert "2 tokens of text" in str(refused(Told(after=AFTER | {4: 3}), LOOSE, asked))


@pytest.mark.parametrize("limits", [EXACT, LOOSE, Limits(kl=float("inf"), same_tokens=False)])
def test_logits_that_are_no_numbers(limits: Limits) -> None:
    """An export whose logits are NaN is refused, also without a limit."""
    nan: Array = np.full((4, COLUMNS), np.nan, np.float32)
    refused(Told(logits=nan), limits)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_another_number_of_distributions(rows: int) -> None:
    """An export that was not run along all of an answer is refused, never stretched to fit."""
    refused(Told(logits=np.zeros((rows, COLUMNS), np.float32)), LOOSE)


def test_untested() -> None:
    """Answers without tokens, or with a few that do not end, show nothing, and do not pass."""
    for asked, words in ((trial(answered()), "only 0 tokens"), (trial(answered(1, 2)), "only 2 tokens")):
        with pytest.raises(ReleaseError, match=f"untested: {words}"):
            check_trial(asked)
    with pytest.raises(ReleaseError, match="answers nothing"):
        check_trial(trial(answered(ended=True)))
    check_trial(trial(ANSWER))


# Does the adapter do anything?


def test_adapter_that_does_nothing() -> None:
    """A trained model that finds as likely as its base whatever comes next is refused."""
    trained, along = Told(after=AFTER), telling([answered().tokens, ANSWER.tokens], None)
    assert along == Tokens(ids=ANSWER.tokens.ids, since=1)
    with pytest.raises(ReleaseError, match="the adapter changes nothing"):
        check_influence(trained, Told(after=AFTER), along)
    check_influence(trained, Told(after=AFTER | {2: 2}), along)
    check_influence(trained, Told(after=AFTER, other=0.01001), along)


def test_tokens_that_the_base_does_not_have() -> None:
    """What a run added is not asked of its base."""
    along = telling([ANSWER.tokens], 5)
    assert along.ids == (4,)
    check_influence(Told(after=AFTER), Told(after=AFTER), along)
