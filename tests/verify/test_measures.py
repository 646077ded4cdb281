"""How far two models are apart: the definitions, and what rows come in."""

from typing import Any

import numpy as np
import pytest
from tagship.verify.measures import PerToken, kl_divergence, per_token

Array = np.ndarray[Any, np.dtype[Any]]


def logs(*rows: list[float]) -> Array:
    """Log-probabilities of rows of probabilities."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float64))


def reference_kl(p: Array, q: Array) -> float:
    """The definition, in a loop."""
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def test_divergence_is_the_definition() -> None:
    """For distributions that are known whole it is the sum of p log(p / q), in nats, row by row."""
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(50), 20), random.dirichlet(np.ones(50), 20)
    expected = [reference_kl(a, b) for a, b in zip(p, q, strict=True)]
    assert kl_divergence(np.log(p), np.log(q)) == pytest.approx(expected, rel=1e-9)


def test_impossible_tokens_of_the_reference() -> None:
    """A token that the reference never takes adds nothing, whatever the other says of it."""
    assert kl_divergence(logs([0.0, 1.0]), logs([0.5, 0.5])) == pytest.approx([np.log(2)], rel=1e-6)
    assert kl_divergence(logs([0.0, 1.0]), logs([0.0, 1.0])) == pytest.approx([0.0], abs=1e-9)


def test_unreported_tokens_are_one_event() -> None:
    """Tokens that the other does not report count as one, with the probability that is left over: that can hide a
    difference, never make one."""
    p, q = logs([0.5, 0.3, 0.2]), logs([0.7, 0.0, 0.0])
    expected = reference_kl(np.array([0.5, 0.5]), np.array([0.7, 0.3]))
    assert kl_divergence(p, q) == pytest.approx([expected], rel=1e-6)
    assert kl_divergence(p, logs([0.5, 0.0, 0.0])) == pytest.approx([0.0], abs=1e-6)


def test_what_is_not_told() -> None:
    """Of a model that tells only of the likeliest tokens, what is left is of the others, whichever they are."""
    p, q = logs([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]), logs([0.7, 0.0, 0.0], [0.5, 0.3, 0.0])
    found = per_token([p.astype(np.float32)], [q.astype(np.float32)], [0, 1], all_told=False)
    expected = [reference_kl(np.array([0.5, 0.5]), np.array([0.7, 0.3])), 0]
    assert found.kl == pytest.approx(expected, abs=1e-6)
    assert np.exp(found.given_log) == pytest.approx([0.7, 0.3])


def test_what_is_no_distribution() -> None:
    """Logits, or probabilities, in place of their logarithms are no agreement."""
    p = logs([0.5, 0.3, 0.2])
    for told in (p + 20, np.exp(p), p / 2, np.array([[900.0, -np.inf, -np.inf]])):
        assert np.isnan(per_token([p.astype(np.float32)], [told.astype(np.float32)], [0], all_told=False).kl).all()


def test_all_probability_on_what_the_reference_does_not_take() -> None:
    """Where the other leaves no probability for what the reference takes the divergence is large, and finite."""
    (found,) = kl_divergence(logs([1.0, 0.0]), logs([0.0, 1.0]))
    assert 10 < found < 100


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("whole_row", [True, False])
def test_what_is_no_number(bad: float, whole_row: bool) -> None:
    """A NaN or an infinity on either side makes its row NaN, and no other."""
    good = logs([0.5, 0.5], [0.5, 0.5]).astype(np.float32)
    broken = good.copy()
    broken[1, : 2 if whole_row else 1] = bad
    for pair in ((good, broken), (broken, good)):
        divergences = per_token([pair[0]], [pair[1]], [0, 0]).kl
        assert divergences[0] == pytest.approx(0, abs=1e-6)
        assert np.isnan(divergences[1])


def test_nothing_reported() -> None:
    """A row in which the other reports no token at all shows nothing, and is NaN."""
    assert np.isnan(kl_divergence(logs([0.5, 0.5]), logs([0.0, 0.0]))).all()


def compared(p: Array, q: Array, following: list[int], blocks: tuple[int, int] = (3, 2)) -> PerToken:
    """Both as logits, in blocks of other sizes."""
    ours, theirs = ((rows + 7).astype(np.float32) for rows in (p, q))
    return per_token(
        (ours[start : start + blocks[0]] for start in range(0, len(ours), blocks[0])),
        (theirs[start : start + blocks[1]] for start in range(0, len(theirs), blocks[1])),
        following,
    )


def test_figures_are_llama_perplexity_s() -> None:
    """Mean KL with its error, percentiles, the root mean square of the difference in the right token's probability, the
    share of equal likeliest tokens, and the ratio of the perplexities with its error: as `--kl-divergence` prints."""
    random = np.random.default_rng(1)
    p = random.dirichlet(np.ones(20), 400)
    q = p * np.exp(random.normal(0, 0.3, p.shape))
    q /= q.sum(axis=1, keepdims=True)
    following = random.integers(0, 20, 400)
    rows = np.arange(400)
    found = compared(np.log(p), np.log(q), following.tolist(), (64, 37)).measured()
    kl = (p * np.log(p / q)).sum(axis=1)
    ratio = np.log(p[rows, following] / q[rows, following])
    apart = p[rows, following] - q[rows, following]
    expected = {
        "kl": kl.mean(),
        "kl_error": kl.std(ddof=1) / 20,
        "kl_median": np.median(kl),
        "kl_99": np.quantile(kl, 0.99),
        "kl_999": np.quantile(kl, 0.999),
        "kl_max": kl.max(),
        "rms_probability": np.sqrt((apart**2).mean()),
        "top1": (p.argmax(axis=1) == q.argmax(axis=1)).mean(),
        "perplexity_ratio": np.exp(ratio.mean()),
        "perplexity_ratio_error": np.exp(ratio.mean()) * ratio.std(ddof=1) / 20,
    }
    assert found.tokens == 400
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=0.005)


def test_figures_are_rounded() -> None:
    """Three digits, so that what a machine measures twice is written alike; of one token no error is known."""
    measured = compared(logs([0.123456789, 0.876543211]), logs([0.2, 0.8]), [1]).measured()
    assert measured.kl == float(f"{measured.kl:.3g}") and (measured.kl_error, measured.perplexity_ratio_error) == (
        None,
        None,
    )


def test_vocabularies_of_other_sizes() -> None:
    """Padded columns of one runtime are no tokens, on either side."""
    narrow, wide = logs([0.5, 0.5]), logs([0.3, 0.3, 0.4])
    for pair in ((narrow, wide), (wide, narrow)):
        assert compared(*pair, [0]).kl == pytest.approx([0.0], abs=1e-6)


def test_token_without_a_column() -> None:
    """What follows and has no column is impossible."""
    assert compared(logs([0.5, 0.5]), logs([0.5, 0.5]), [7]).given_log.tolist() == [-np.inf]


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_another_number_of_rows(rows: int) -> None:
    """Rows that are not one for each token are never stretched to fit."""
    row = [0.5, 0.5]
    three, other = logs(row, row, row), logs(*[row] * rows) if rows else np.zeros((0, 2))
    for pair in ((three, other), (other, three)):
        with pytest.raises(ValueError, match="rows"):
            compared(*pair, [0, 0, 0])
    with pytest.raises(ValueError, match="3 rows of 2"):
        compared(three, three, [0, 0])


def test_nothing_to_compare() -> None:
    """No tokens are compared to nothing."""
    assert len(per_token([], [], []).kl) == 0
