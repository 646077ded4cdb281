"""An evaluation as the Hub shows it: an entry of `model-index` in a card's front matter.

Specification: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from typing import TYPE_CHECKING

from tagship.evaluation.results import Evaluation
from tagship.evaluation.scoring import COMMAND, EXACT

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TASK = "text-generation"
# Cases are a file of the project. Any other word would be taken for the id of a data set on the Hub.
_DATASET = "custom"
_DIGITS = 4


def eval_result(evaluation: Evaluation) -> "EvalResult":
    """What `ModelCardData(eval_results=[…], model_name=…)` takes."""
    from huggingface_hub import EvalResult

    kind, name = _metric({case.score for case in evaluation.cases})
    error = evaluation.standard_error
    spread = "" if error is None else f", standard error {error:.{_DIGITS}f}"
    return EvalResult(
        task_type=_TASK,
        dataset_type=_DATASET,
        dataset_name=evaluation.task,
        dataset_args={"cases": len(evaluation.cases), "sha256": evaluation.digest},
        metric_type=kind,
        metric_name=f"{name} over {len(evaluation.cases)} cases{spread}",
        metric_value=round(evaluation.mean, _DIGITS),
    )


def _metric(scores: set[str]) -> tuple[str, str]:
    """The id of a metric, one that the Hub knows where there is one, and what people call it."""
    if scores == {EXACT}:
        return "exact_match", "Exact match"
    return ("score", "Mean score") if COMMAND in scores else ("accuracy", "Accuracy")
