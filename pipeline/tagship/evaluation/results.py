"""What a model scored on a task: data that is put into release.json, and read from it again."""

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Struct, to_builtins

from tagship.evaluation.cases import Case
from tagship.evaluation.scorers import Scorers
from tagship.evaluation.scoring import SCORES, Scorer, Scoring
from tagship.system.errors import ReleaseError

_DIGITS = 6


class CaseScore(Struct, frozen=True, kw_only=True):
    """The `points` of one answer, from 0 to 1; the rest is of its case. Neither prompt nor answer is kept: a release is
    public, and its cases need not be."""

    id: str
    score: str
    digest: str
    points: float


class Evaluation(Struct, frozen=True, kw_only=True):
    """What a model scored: `task` and `model` are what people call them, `max_tokens` is how long answers might be."""

    task: str
    model: str
    max_tokens: int
    cases: tuple[CaseScore, ...]

    @property
    def mean(self) -> float:
        """The mean of the points: a fraction."""
        return math.fsum(case.points for case in self.cases) / len(self.cases)

    @property
    def standard_error(self) -> float | None:
        """That of the mean, were the cases drawn at random: the sample's standard deviation by the root of its size.
        None for a single case, of which there is none."""
        count = len(self.cases)
        if count < 2:
            return None
        mean = self.mean
        return math.sqrt(math.fsum((case.points - mean) ** 2 for case in self.cases) / (count - 1) / count)

    @property
    def passed(self) -> int:
        """How many answers have all points."""
        return sum(case.points == 1 for case in self.cases)

    @property
    def digest(self) -> str:
        """Of all that was asked and expected, whatever the order."""
        return hashlib.sha256("\n".join(sorted(case.digest for case in self.cases)).encode()).hexdigest()

    @property
    def summary(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.3f}"
        return f"{self.model}: {self.passed} of {len(self.cases)} passed, mean score {self.mean:.3f}{error}"


def score_answers(cases: Sequence[Case], answers: Sequence[str], scoring: Scoring) -> tuple[CaseScore, ...]:
    """The points of each answer, one to each case, in their order.

    To be called in a main thread, where scorers are bounded in time. Raises ReleaseError for a scorer that comes to no
    end, ToolError for a command that fails; neither is ever a score of 0.
    """
    scorers = Scorers(scoring)
    return tuple(_scored(case, answer, scorers) for case, answer in zip(cases, answers, strict=True))


def _scored(case: Case, answer: str, scorers: Scorers) -> CaseScore:
    points = _points(case, scorers.of(case.score, case.prompt, case.expected), answer)
    return CaseScore(id=case.id, score=case.score, digest=case.digest, points=round(points, _DIGITS))


def _points(case: Case, scorer: Scorer, answer: str) -> float:
    try:
        return scorer(answer)
    except (TimeoutError, MemoryError, RecursionError) as error:
        raise ReleaseError(
            f"the answer to the case {case.id!r} cannot be scored by {case.score}: {error or type(error).__name__}",
            remedy="simplify its expression or schema: repetitions within repetitions, as in (a+)+, take forever",
        ) from None


def to_document(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON has it, with the figures that readers look for."""
    error = evaluation.standard_error
    return {
        "task": evaluation.task,
        "model": evaluation.model,
        "max_tokens": evaluation.max_tokens,
        "mean": round(evaluation.mean, _DIGITS),
        "standard_error": None if error is None else round(error, _DIGITS),
        "passed": evaluation.passed,
        "cases": [to_builtins(case) for case in evaluation.cases],
    }


def from_document(document: Any) -> Evaluation:
    """What `to_document` made. Raises ReleaseError for anything else, also where a figure is not that of the cases."""
    try:
        evaluation = Evaluation(
            task=_typed(document["task"], str),
            model=_typed(document["model"], str),
            max_tokens=_typed(document["max_tokens"], int),
            cases=tuple(map(_case_score, document["cases"])),
        )
        if not evaluation.cases or to_document(evaluation) != document:
            raise ValueError("its figures are not those of its cases")
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"the record of an evaluation is malformed: {error!r}", remedy="release again") from None
    return evaluation


def _case_score(document: Any) -> CaseScore:
    text = partial(_typed, kind=str)
    case = CaseScore(
        id=text(document["id"]),
        score=text(document["score"]),
        digest=text(document["digest"]),
        points=float(_typed(document["points"], (int, float))),
    )
    if case.score not in SCORES or not 0 <= case.points <= 1:
        raise ValueError(f"{case} is no score")
    return case


def _typed(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is of another type")
    return value
