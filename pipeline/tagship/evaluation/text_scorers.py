"""Answers that are held against text: the expected one, or a regular expression."""

import re
from typing import Any

from tagship.evaluation.scoring import Scorer
from tagship.system.limits import bounded

# An expression may try every way to divide an answer, which ends after the universe does. Most take microseconds.
SECONDS = 10.0
MEMORY = 1 << 30


def exact(expected: Any) -> Scorer:
    """One point for the expected text; the white space around both does not count. Raises ValueError for what is no
    text."""
    wanted = _text(expected).strip()
    return lambda answer: float(answer.strip() == wanted)


def regex(expected: Any, seconds: float = SECONDS) -> Scorer:
    """One point for an answer in which a regular expression of Python is found: `^` and `$` tie it to the ends.

    Raises ValueError for what is none. The scorer raises TimeoutError or MemoryError for an expression that does not
    come to an end: time is bounded in the main thread alone.
    """
    try:
        with bounded(seconds, MEMORY):
            compiled = re.compile(_text(expected))
    except (re.error, OverflowError, RecursionError, TimeoutError, MemoryError) as error:
        raise ValueError(f"is no regular expression: {error or type(error).__name__}") from None

    def points(answer: str) -> float:
        with bounded(seconds, MEMORY):
            return float(compiled.search(answer) is not None)

    return points


def _text(expected: Any) -> str:
    if not isinstance(expected, str) or not expected.strip():
        raise ValueError("must be a text that is not empty")
    return expected
