"""Points, what they come to, and how they are kept."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tagship.evaluation.cases import Case, read_cases
from tagship.evaluation.model_index import eval_result
from tagship.evaluation.results import CaseScore, Evaluation, from_document, score_answers, to_document
from tagship.evaluation.scoring import COMMAND, EXACT, JSON_SCHEMA, REGEX, Scoring
from tagship.system.errors import ReleaseError, ToolError


def evaluation(*points: float, score: str = EXACT) -> Evaluation:
    cases = tuple(
        CaseScore(id=f"case {number}", score=score, digest=f"{number:016x}", points=value)
        for number, value in enumerate(points)
    )
    return Evaluation(task="Sums", model="the vllm export", max_tokens=64, cases=cases)


def case(expected: Any, score: str) -> Case:
    return Case(id="one", prompt="p", expected=expected, score=score, digest="d")


def test_answers_are_scored(tmp_path: Path) -> None:
    """Each case is scored in its own way, in the order of the file; neither prompts nor answers are kept."""
    records = [
        {"prompt": "What is 1 + 2?", "expected": "3"},
        {"prompt": "Name a color.", "expected": "red|blue", "score": "regex", "id": "color"},
        {"prompt": "Be brief.", "expected": 4, "score": "command"},
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, records)))
    program = "import json, sys; case = json.load(sys.stdin); print(1 / max(len(case['answer']) - case['expected'], 1))"
    scoring = Scoring(command=(sys.executable, "-c", program), folder=tmp_path)
    cases = read_cases(tmp_path / "cases.jsonl", scoring)
    scored = score_answers(cases, ["3", "Green.", "Yes, yes"], scoring)
    assert [(one.id, one.score, one.points) for one in scored] == [
        ("line 1", EXACT, 1.0),
        ("color", REGEX, 0.0),
        ("line 3", COMMAND, 0.25),
    ]
    assert [one.digest for one in scored] == [one.digest for one in cases]


def test_both_schemas(tmp_path: Path) -> None:
    """An answer has to satisfy the policy's schema and the case's own, where there are both."""
    pytest.importorskip("jsonschema")
    (tmp_path / "schema.json").write_text('{"required": ["a"]}')
    scoring = Scoring(schema=tmp_path / "schema.json")
    cases = [case(expected, JSON_SCHEMA) for expected in (None, {"properties": {"a": {"const": 1}}})]
    points = [
        [one.points for one in score_answers(cases, [answer] * 2, scoring)] for answer in ('{"a": 1}', '{"a": 2}', "{}")
    ]
    assert points == [[1, 1], [1, 0], [0, 0]]


def test_scorer_without_end() -> None:
    """An expression that comes to no end stops the release by the case's name, and gives no points."""
    pytest.importorskip("jsonschema")
    with pytest.raises(ReleaseError, match="the answer to the case 'one' cannot be scored by json_schema: ") as caught:
        endless = {"properties": {"a": {"$ref": "#/properties/a"}}}
        score_answers([case(endless, JSON_SCHEMA)], ['{"a": 1}'], Scoring())
    assert "simplify" in str(caught.value.remedy)


def test_command_that_fails() -> None:
    """A failing command is no score of 0."""
    scoring = Scoring(command=(sys.executable, "-c", "exit(3)"))
    with pytest.raises(ToolError, match="exit code 3"):
        score_answers([case(None, COMMAND)], ["a"], scoring)


def test_figures() -> None:
    """The mean has the standard error of a sample: its deviation over n - 1, by the root of n."""
    scored = evaluation(1, 1, 1, 0)
    assert (scored.mean, scored.passed) == (0.75, 3)
    assert scored.standard_error == pytest.approx(math.sqrt((3 * 0.25**2 + 0.75**2) / 3 / 4))
    assert scored.summary == "the vllm export: 3 of 4 passed, mean score 0.750 ± 0.250"


def test_figures_of_a_single_case() -> None:
    """One case has a mean, and no error that could be told."""
    scored = evaluation(0.5)
    assert (scored.mean, scored.passed, scored.standard_error) == (0.5, 0, None)
    assert scored.summary == "the vllm export: 0 of 1 passed, mean score 0.500"


def test_digest_of_all_cases() -> None:
    """What was asked has one digest, whatever the order, the names and the points."""
    scored = evaluation(1, 0)
    again = replace(scored, cases=tuple(replace(one, id="x", points=0.5) for one in reversed(scored.cases)))
    assert again.digest == scored.digest != evaluation(1, 0, 1).digest


@pytest.mark.parametrize("points", [(1.0, 0.0, 0.333333), (1.0,)])
def test_kept_in_json(points: tuple[float, ...]) -> None:
    """An evaluation that was written is read as it was."""
    scored = evaluation(*points)
    assert from_document(json.loads(json.dumps(to_document(scored)))) == scored


def test_document() -> None:
    """Readers find the figures beside the cases."""
    assert to_document(evaluation(1, 0.5, 0.5)) == {
        "task": "Sums",
        "model": "the vllm export",
        "max_tokens": 64,
        "mean": 0.666667,
        "standard_error": 0.166667,
        "passed": 1,
        "cases": [
            {"id": "case 0", "score": "exact", "digest": "0" * 16, "points": 1},
            {"id": "case 1", "score": "exact", "digest": "0" * 15 + "1", "points": 0.5},
            {"id": "case 2", "score": "exact", "digest": "0" * 15 + "2", "points": 0.5},
        ],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"mean": 0.9},
        {"passed": 2},
        {"standard_error": None},
        {"task": 3},
        {"max_tokens": "64"},
        {"max_tokens": True},
        {"cases": []},
        {"cases": None},
        {"cases": [3]},
        {"cases": [{"id": "a", "score": "exact", "digest": "d", "points": 2}]},
        {"cases": [{"id": "a", "score": "exact", "digest": "d", "points": float("nan")}]},
        {"cases": [{"id": "a", "score": "guess", "digest": "d", "points": 1}]},
        {"cases": [{"id": "a", "score": "exact", "points": 1}]},
    ],
)
def test_malformed_document(change: dict[str, Any]) -> None:
    """A record that is not ours, or whose figures are not those of its cases, is refused."""
    with pytest.raises(ReleaseError, match="the record of an evaluation is malformed: "):
        from_document(to_document(evaluation(1, 0)) | change)


@pytest.mark.parametrize("document", [None, [], {}, "x"])
def test_no_document(document: Any) -> None:
    """So is what is no record at all."""
    with pytest.raises(ReleaseError, match="malformed"):
        from_document(document)


# On the Hub


@pytest.mark.parametrize(
    ("scores", "kind", "name"),
    [
        ((EXACT, EXACT), "exact_match", "Exact match over 2 cases, standard error 0.5000"),
        ((EXACT, REGEX), "accuracy", "Accuracy over 2 cases, standard error 0.5000"),
        ((JSON_SCHEMA, JSON_SCHEMA), "accuracy", "Accuracy over 2 cases, standard error 0.5000"),
        ((EXACT, COMMAND), "score", "Mean score over 2 cases, standard error 0.5000"),
    ],
)
def test_metric(scores: tuple[str, ...], kind: str, name: str) -> None:
    """The metric is called as the Hub does, by the ways in which cases are scored."""
    scored = evaluation(1, 0)
    cases = tuple(replace(one, score=score) for one, score in zip(scored.cases, scores, strict=True))
    result = eval_result(replace(scored, cases=cases))
    assert (result.metric_type, result.metric_name, result.metric_value) == (kind, name, 0.5)


def test_front_matter() -> None:
    """huggingface_hub makes the card's model-index of it, and reads it again."""
    import yaml
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results

    result = eval_result(evaluation(1, 0, 1))
    document = yaml.safe_load(ModelCardData(model_name="acme/sums", eval_results=[result]).to_yaml())
    (entry,) = document["model-index"][0]["results"]
    assert entry["task"] == {"type": "text-generation"}
    assert (entry["dataset"]["type"], entry["dataset"]["name"]) == ("custom", "Sums")
    assert entry["dataset"]["args"]["cases"] == 3
    assert entry["metrics"][0]["value"] == 0.6667
    assert model_index_to_eval_results(document["model-index"]) == ("acme/sums", [result])
