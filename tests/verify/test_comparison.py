"""Does an export answer like base + adapter? What passes, what is refused, and what the message shows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tagship.system.errors import ReleaseError
from tagship.verify.comparison import TIE, compare, kl_divergence
from tagship.verify.evidence import Evidence
from tagship.verify.questions import Answer, Limits

EXACT = Limits(kl=0.01, same_tokens=True)
LOOSE = Limits(kl=0.5, same_tokens=False)
Array = np.ndarray[Any, np.dtype[Any]]


def logs(*rows: list[float]) -> Array:
    """Log-probabilities of rows of probabilities."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float64)).astype(np.float32)


def answer(ids: tuple[int, ...] = (1, 2), logprobs: Array | None = None, text: str = "yes") -> Answer:
    given = logs(*[[0.1, 0.6, 0.3]] * len(ids)) if logprobs is None else logprobs
    return Answer(prompt="<|user|>why?", prompt_ids=(7, 8, 9), ids=ids, text=text, logprobs=given)


def refused(expected: Answer, given: Answer, limits: Limits = EXACT) -> str:
    with pytest.raises(ReleaseError, match="the test export does not answer like base \\+ adapter") as caught:
        compare((expected,), (given,), limits, "the test export")
    assert caught.value.remedy
    assert "nothing was published" in caught.value.remedy
    return str(caught.value)


# Divergence


def reference_kl(p: Array, q: Array) -> float:
    """The definition, in a loop."""
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def test_divergence_is_the_definition() -> None:
    """For distributions that are known whole it is the sum of p log(p / q), in nats, row by row."""
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(50), 20), random.dirichlet(np.ones(50), 20)
    expected = [reference_kl(a, b) for a, b in zip(p, q, strict=True)]
    assert kl_divergence(np.log(p), np.log(q)) == pytest.approx(expected, rel=1e-9)


def test_divergence_by_hand() -> None:
    """Of a fair coin from one that shows heads three times in four it is log(2 / sqrt(3))."""
    assert kl_divergence(logs([0.5, 0.5]), logs([0.75, 0.25])) == pytest.approx([np.log(2 / np.sqrt(3))], rel=1e-6)


def test_impossible_tokens_of_the_reference() -> None:
    """A token that the reference never takes adds nothing, whatever the other says of it."""
    assert kl_divergence(logs([0.0, 1.0]), logs([0.5, 0.5])) == pytest.approx([np.log(2)], rel=1e-6)
    assert kl_divergence(logs([0.0, 1.0]), logs([0.0, 1.0])) == pytest.approx([0.0], abs=1e-9)


def test_unreported_tokens_are_one_event() -> None:
    """Tokens that the other does not report count as one, with the probability that is left over."""
    p, q = logs([0.5, 0.3, 0.2]), logs([0.7, 0.0, 0.0])
    expected = reference_kl(np.array([0.5, 0.5]), np.array([0.7, 0.3]))
    assert kl_divergence(p, q) == pytest.approx([expected], rel=1e-6)


def test_unreported_tokens_make_it_smaller() -> None:
    """What is not reported can hide a difference, never make one."""
    whole = kl_divergence(logs([0.5, 0.3, 0.2]), logs([0.5, 0.1, 0.4]))
    parts = kl_divergence(logs([0.5, 0.3, 0.2]), logs([0.5, 0.0, 0.0]))
    assert parts == pytest.approx([0.0], abs=1e-6)
    assert whole > parts


def test_all_probability_on_what_the_reference_does_not_take() -> None:
    """Where the other leaves no probability for what the reference takes the divergence is large, and finite."""
    (found,) = kl_divergence(logs([1.0, 0.0]), logs([0.0, 1.0]))
    assert 10 < found < 100


@pytest.mark.parametrize("columns", [2, 5])
def test_vocabularies_of_other_sizes(columns: int) -> None:
    """Padded columns of one runtime are no tokens, and those that are missing are not reported."""
    other = np.full((1, columns), -np.inf, np.float32)
    other[0, :2] = np.log([0.5, 0.5])
    assert kl_divergence(logs([0.5, 0.5, 0.0]), other) == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("whole_row", [True, False])
def test_what_is_no_number(bad: float, whole_row: bool) -> None:
    """A NaN or an infinity on either side makes its row NaN, and no other."""
    good = logs([0.5, 0.5], [0.5, 0.5])
    broken = good.copy()
    broken[1, : 2 if whole_row else 1] = bad
    for divergences in (kl_divergence(good, broken), kl_divergence(broken, good)):
        assert divergences[0] == pytest.approx(0, abs=1e-6)
        assert np.isnan(divergences[1])


def test_nothing_reported() -> None:
    """A row in which the other reports no token at all shows nothing, and is NaN."""
    assert np.isnan(kl_divergence(logs([0.5, 0.5]), logs([0.0, 0.0]))).all()


# Comparison


def test_equal_answers() -> None:
    """Equal answers pass, and the evidence counts prompts and tokens."""
    both = (answer(), answer((2, 2, 1)))
    evidence = compare(both, both, EXACT, "the export")
    assert (evidence.prompts, evidence.same, evidence.tokens) == (2, 2, 5)
    assert evidence.kl == pytest.approx(0, abs=1e-7)


def test_mean_over_all_tokens() -> None:
    """The divergence is the mean over the tokens of all answers, not over the answers."""
    far = logs([0.3, 0.6, 0.1])
    reference = (answer((1,)), answer((1, 1, 1)))
    given = (answer((1,), far), answer((1, 1, 1)))
    (alone,) = kl_divergence(reference[0].logprobs, far)
    assert compare(reference, given, LOOSE, "the export").kl == pytest.approx(alone / 4, rel=1e-6)


def test_summary() -> None:
    """The evidence reads as one line."""
    evidence = Evidence(prompts=3, tokens=40, same=2, kl=0.01234, limits=LOOSE)
    assert evidence.summary == "2 of 3 greedy answers equal, mean KL 0.012 nats over 40 tokens (limit 0.5)"


def test_different_tokens_are_refused_with_both_texts() -> None:
    """Another answer is refused, and the message shows the prompt, both texts, the token and the gap."""
    message = refused(answer((1, 2), text="the right one"), answer((1, 0), text="the wrong one"))
    for shown in ("<|user|>why?", "the right one", "the wrong one", "token 2 differs", "1.1 nats"):
        assert shown in message


def test_different_tokens_may_be_allowed() -> None:
    """Where equal tokens are not asked for another answer passes, and is not counted as equal."""
    evidence = compare((answer((1, 2)),), (answer((1, 0)),), LOOSE, "the export")
    assert (evidence.same, evidence.prompts) == (0, 1)


@pytest.mark.parametrize(("gap", "passes"), [(0.0, True), (TIE / 2, True), (TIE * 2, False), (1.0, False)])
def test_ties(gap: float, passes: bool) -> None:
    """Two tokens whose log-probabilities hardly differ may be taken for each other; what follows is another answer."""
    reference = answer((0, 1, 1), np.array([[-1.0, -1.0 - gap, -1.5]] * 3, np.float32))
    given = replace(reference, ids=(1, 2, 2, 2), text="other")
    if passes:
        assert compare((reference,), (given,), EXACT, "the export").same == 0
    else:
        assert "token 1 differs" in refused(reference, given)


def test_answer_that_stops_elsewhere() -> None:
    """An answer that is the beginning of the other is refused with both texts."""
    message = refused(answer((1, 2), text="short"), answer((1, 2, 1), text="short and more"))
    assert "stops elsewhere" in message
    assert "'short'" in message
    assert "'short and more'" in message


def test_token_beyond_the_reference_vocabulary() -> None:
    """A token that the reference has no column for differs from all of its tokens."""
    assert "token 2 differs" in refused(answer((1, 2)), answer((1, 3), text="padding"))


def test_different_prompt_tokens() -> None:
    """Other tokens of the prompt are refused before any answer is looked at, whatever the limits."""
    given = replace(answer(), prompt_ids=tuple(range(20)))
    message = refused(answer(), given, LOOSE)
    assert "<|user|>why?" in message
    assert "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] …" in message
    assert "[7, 8, 9]" in message
    assert "tokenizer or chat template" in message


def test_divergence_over_the_limit() -> None:
    """A mean divergence over the limit is refused with both numbers."""
    far = logs([0.8, 0.1, 0.1], [0.8, 0.1, 0.1])
    message = refused(answer(), answer(logprobs=far), LOOSE)
    assert "the limit is 0.5" in message
    assert "over 2 tokens" in message


def test_divergence_at_the_limit() -> None:
    """A mean divergence of just the limit passes."""
    far = logs([0.3, 0.6, 0.1], [0.3, 0.6, 0.1])
    limit = float(kl_divergence(answer().logprobs, far).mean())
    assert compare((answer(),), (answer(logprobs=far),), Limits(kl=limit, same_tokens=True), "x").kl == limit


@pytest.mark.parametrize("limits", [EXACT, LOOSE, Limits(kl=float("inf"), same_tokens=False)])
def test_logits_that_are_no_numbers(limits: Limits) -> None:
    """An export whose logits are NaN is refused, also with its tokens right and without a limit."""
    nan = np.full((2, 3), np.nan, np.float32)
    assert "nan nats" in refused(answer(), answer(logprobs=nan), limits)
    assert "nan nats" in refused(answer(logprobs=nan), answer(), limits)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_another_number_of_distributions(rows: int) -> None:
    """An export that was not run along all of the reference's answer is refused, never stretched to fit."""
    given = answer(logprobs=logs(*[[0.1, 0.6, 0.3]] * rows) if rows else np.zeros((0, 3), np.float32))
    assert f"{rows} distributions instead of 2" in refused(answer(), given, LOOSE)


def test_nothing_to_compare() -> None:
    """Answers without a single token show nothing, and do not pass."""
    empty = answer((), np.zeros((0, 3), np.float32))
    assert "over 0 tokens" in refused(empty, empty)


def test_another_number_of_answers() -> None:
    """Answers to other prompts than the reference's are a mistake of the program."""
    with pytest.raises(ValueError, match="shorter"):
        compare((answer(), answer()), (answer(),), EXACT, "the export")
