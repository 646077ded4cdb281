"""How far two models are apart along the same tokens, measured as llama.cpp's `llama-perplexity --kl-divergence` does.

Rows of logits come in blocks and are let go of: what is kept is a few numbers for each token.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.verify.evidence import Measured

Rows = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]
# Bytes of float64 that are worked on at once: several arrays of as many are held.
_BLOCK = 8 << 20
# How far above 1 the probabilities of a row may be together that come as logarithms in 32 bits, or fewer.
_SLACK = 0.01
# Significant digits: what a machine computes twice is the same, and what another does nearly.
_DIGITS = 3


class PerToken(Struct, frozen=True, kw_only=True):
    """What two models say of each token of a text, arrays of one number for each: the `kl` of their distributions in
    nats, the likeliest token by `expected` and by `given`, how much less likely the second one is in the
    eyes of the first (`gap`, nats), and the log-probability of the token that follows, by each."""

    kl: Numbers
    expected: np.ndarray[Any, np.dtype[np.int64]]
    given: np.ndarray[Any, np.dtype[np.int64]]
    gap: Numbers
    expected_log: Numbers
    given_log: Numbers

    def part(self, start: int, end: int) -> "PerToken":
        """Some of the tokens."""
        return PerToken(**{name: getattr(self, name)[start:end] for name in self.__struct_fields__})

    def measured(self) -> Measured:
        """What they come to. `kl` is NaN where a row had no numbers in it."""
        number = len(self.kl)
        more = self.expected_log - self.given_log  # the log of how many times as perplexed
        apart = np.exp(self.given_log) - np.exp(self.expected_log)
        ratio = float(np.exp(more.mean()))
        rounded = {
            "kl": self.kl.mean(),
            "kl_error": _standard_error(self.kl),
            "kl_median": np.median(self.kl),
            "kl_99": np.quantile(self.kl, 0.99),
            "kl_999": np.quantile(self.kl, 0.999),
            "kl_max": self.kl.max(),
            "rms_probability": np.sqrt((apart**2).mean()),
            "top1": (self.expected == self.given).mean(),
            "perplexity_ratio": ratio,
            "perplexity_ratio_error": ratio * _standard_error(more),
        }
        figures: dict[str, Any] = {name: _rounded(float(value)) for name, value in rounded.items()}
        if number < 2:
            figures |= {"kl_error": None, "perplexity_ratio_error": None}
        return Measured(tokens=number, **figures)


def per_token(
    expected: Iterable[Rows], given: Iterable[Rows], following: Sequence[int], *, all_told: bool = True
) -> PerToken:
    """Compare two models' logits row by row; `following` are the tokens that stand there. Both come in blocks, of any
    sizes. Where not all is told, those of the second one are log-probabilities already, -inf where it says nothing.
    Raises ValueError where they are not as many."""
    parts = list(_parts(expected, given, np.asarray(following, np.int64), all_told))
    if not parts:
        empty = np.empty(0)
        whole = np.empty(0, np.int64)
        return PerToken(kl=empty, expected=whole, given=whole, gap=empty, expected_log=empty, given_log=empty)
    names = PerToken.__struct_fields__
    return PerToken(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _parts(expected: Iterable[Rows], given: Iterable[Rows], following: Any, all_told: bool) -> Iterator[PerToken]:
    done = 0
    for ours, theirs in _side_by_side(expected, given):
        yield _compared(ours, theirs, following[done : done + len(ours)], all_told)
        done += len(ours)
    if done != len(following):
        raise ValueError(f"{done} rows of {len(following)}")


def _side_by_side(expected: Iterable[Rows], given: Iterable[Rows]) -> Iterator[tuple[Rows, Rows]]:
    """Pieces of as many rows of both, small enough to work on."""
    others = iter(given)
    theirs: Rows | None = None
    at = 0
    for ours in expected:
        start = 0
        while start < len(ours):
            if theirs is None or at == len(theirs):
                theirs, at = next(others, None), 0
                if theirs is None:
                    raise ValueError("the other one gave fewer rows")
            most = max(1, _BLOCK // (8 * max(ours.shape[1], theirs.shape[1])))
            number = min(most, len(ours) - start, len(theirs) - at)
            yield ours[start : start + number], theirs[at : at + number]
            start, at = start + number, at + number
    if (theirs is not None and at < len(theirs)) or next(others, None) is not None:
        raise ValueError("the other one gave more rows")


def _compared(ours: Rows, theirs: Rows, following: Any, all_told: bool) -> PerToken:
    # Padded embeddings give one runtime a few more columns than another: they are never answers.
    columns = min(ours.shape[1], theirs.shape[1])
    p, told = _log_softmax(ours[:, :columns]), theirs[:, :columns]
    q = _log_softmax(told) if all_told else told.astype(np.float64)
    rows = np.arange(len(ours))
    likeliest, other = p.argmax(axis=1), q.argmax(axis=1)
    return PerToken(
        kl=kl_divergence(p, q),
        expected=likeliest,
        given=other,
        gap=p[rows, likeliest] - p[rows, other],
        expected_log=_at(p, rows, following),
        given_log=_at(q, rows, following),
    )


def kl_divergence(p: Numbers, q: Numbers) -> Numbers:
    """KL(p ‖ q) of each row of log-probabilities, in nats.

    Tokens that `q` does not tell of (-inf) are taken together as one event, which can only make the divergence smaller,
    and by little where they are improbable. A row that holds a NaN or an infinity, tells nothing, or is no
    distribution, as its probabilities are more than 1 together, is NaN: it must not pass for agreement.
    """
    known = np.isfinite(q)
    likely = np.exp(p)
    # 0 * log 0 is 0 by definition, and a token that is impossible in the first adds nothing.
    with np.errstate(invalid="ignore", over="ignore"):
        terms = np.where(known & (likely > 0), likely * (p - np.where(known, q, 0.0)), 0.0)
        divergences: Numbers = terms.sum(axis=1)
        together = np.where(known, np.exp(q), 0.0).sum(axis=1)
        if not known.all():
            rest_p = np.clip(np.where(known, 0.0, likely).sum(axis=1), 0.0, 1.0)
            rest_q = np.clip(1.0 - together, 1e-12, 1.0)
            divergences = divergences + np.where(
                rest_p > 1e-12, rest_p * np.log(np.maximum(rest_p, 1e-12) / rest_q), 0.0
            )
    told = (p < np.inf).all(axis=1) & (q < np.inf).all(axis=1) & known.any(axis=1) & (together < 1 + _SLACK)
    return np.where(told, np.maximum(divergences, 0.0), np.nan)


def _log_softmax(logits: Rows) -> Numbers:
    """Log-probabilities; NaN in a row with a NaN or +inf."""
    values: Numbers = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        values -= values.max(axis=1, keepdims=True)
        values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def _at(values: Numbers, rows: Any, columns: Any) -> Numbers:
    """One of each row; what a model has no column for is impossible."""
    there = columns < values.shape[1]
    found: Numbers = np.where(there, values[rows, np.where(there, columns, 0)], -np.inf)
    return found


def _standard_error(values: Numbers) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
