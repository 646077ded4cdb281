"""The task of the shipped example."""

import json
import runpy
from pathlib import Path

import pytest
from tagship.evaluation.cases import read_cases
from tagship.evaluation.results import score_answers
from tagship.policy.config import load_config

pytest.importorskip("jsonschema")

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "avro"

schemas = runpy.run_path(str(EXAMPLE / "schemas.py"))
REQUESTS = schemas["held_out"](schemas["EVALUATED"])


def points(answers: list[str]) -> list[float]:
    """What the example's policy gives for answers."""
    policy = load_config(REPOSITORY / "release.toml", {}).evaluate
    assert policy is not None
    return [case.points for case in score_answers(read_cases(policy.file, policy.scoring), answers, policy.scoring)]


def test_cases_are_those_of_the_program() -> None:
    """The file holds what schemas.py prints, which asks for nothing that was trained on."""
    lines = (EXAMPLE / "evaluate.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [request.case() for request in REQUESTS]


def test_what_an_adapter_should_write() -> None:
    """The right answers pass, also between the fences of a chat."""
    assert set(points([request.answer(learned=True) for request in REQUESTS])) == {1}
    fenced = [f"Sure:\n```json\n{json.dumps(request.schema(learned=True), indent=2)}\n```" for request in REQUESTS]
    assert set(points(fenced)) == {1}


def test_what_the_base_writes() -> None:
    """Right schemas without what the adapters learned do not pass, nor does the right answer to another request."""
    assert set(points([request.answer(learned=False) for request in REQUESTS])) == {0}
    turned = [*REQUESTS[1:], REQUESTS[0]]
    assert set(points([request.answer(learned=True) for request in turned])) == {0}
