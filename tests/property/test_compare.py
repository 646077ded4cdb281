"""Properties of the divergence that an export is judged by."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tagship.verify.measures import kl_divergence

Array = np.ndarray[Any, np.dtype[np.float64]]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    """Two log-distributions over the same tokens, some of them impossible in the first."""
    size = draw(st.integers(1, 12))
    weights = st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e3)), min_size=size, max_size=size)
    p, q = np.array(draw(weights)), np.array(draw(weights)) + 1e-9
    assume(p.sum() > 0)
    with np.errstate(divide="ignore"):
        return np.log(p / p.sum())[None], np.log(q / q.sum())[None]


@given(pair=pairs())
def test_never_negative(pair: tuple[Array, Array]) -> None:
    """The divergence is a finite number that is not below zero."""
    (found,) = kl_divergence(*pair)
    assert np.isfinite(found)
    assert found >= 0


@given(pair=pairs())
def test_zero_for_equal(pair: tuple[Array, Array]) -> None:
    """A distribution does not differ from itself."""
    for one in pair:
        assert kl_divergence(one, one) == pytest.approx([0.0], abs=1e-9)


@given(pair=pairs())
def test_the_definition(pair: tuple[Array, Array]) -> None:
    """It is the sum of p log(p / q) over the tokens that the reference may take."""
    log_p, log_q = (one[0] for one in pair)
    expected = sum(np.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True) if np.isfinite(a))
    assert kl_divergence(*pair) == pytest.approx([expected], rel=1e-6, abs=1e-9)


@given(pair=pairs(), data=st.data())
def test_hiding_tokens_never_makes_it_larger(pair: tuple[Array, Array], data: st.DataObject) -> None:
    """Where the other reports only some of its tokens the divergence is at most that of all of them."""
    log_p, log_q = pair
    kept = data.draw(st.sets(st.integers(0, log_q.shape[1] - 1), min_size=1))
    hidden = np.full_like(log_q, -np.inf)
    hidden[0, list(kept)] = log_q[0, list(kept)]
    # What is left over of 1 has few digits where it is small.
    assert kl_divergence(log_p, hidden)[0] <= kl_divergence(log_p, log_q)[0] * 1.001 + 1e-6
