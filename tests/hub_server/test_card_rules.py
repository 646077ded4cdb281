"""What the Hub takes in the metadata of a card."""

from typing import Any

import pytest
from tagship.hub_server.card_rules import problems, warnings

GOOD = {
    "base_model": ["org/a", "gpt2"],
    "base_model_relation": "merge",
    "datasets": ["org/data"],
    "language": ["en", "deu", "code"],
    "license": "apache-2.0",
    "metrics": ["accuracy"],
    "model-index": [
        {"name": "m", "results": [{"task": {"type": "fill-mask"}, "metrics": [{"type": "acc", "value": 0}]}]},
    ],
    "tags": ["x"],
    "version": "1.0",
}


@pytest.mark.parametrize(
    "data", [{}, GOOD, GOOD | {"language": "nds", "base_model": "org/a", "license": ["mit"], "metrics": "f1"}]
)
def test_metadata_that_is_taken(data: dict[str, Any]) -> None:
    """Single values and lists, and nothing at all, are fine."""
    assert list(problems(data)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_model", "/models/mine"),
        ("base_model", {"id": "org/a"}),
        ("base_model_relation", "child"),
        ("datasets", ["a/b/c"]),
        ("language", "English"),
        ("language", "xx"),
        ("language", ["en", 1]),
        ("license", "apache 2.0"),
        ("license", True),
        ("language", "xxx"),
        ("metrics", {"accuracy": 1}),
        ("model-index", "foo"),
        ("model-index", [{"name": "m", "results": 3}]),
        ("model-index", [{"name": "m", "results": [{"task": {"type": "x"}, "metrics": [{"type": "acc"}]}]}]),
        ("tags", "x"),
        ("tags", [1]),
        ("model_name", {"a": 1}),
    ],
)
def test_metadata_that_is_refused(field: str, value: Any) -> None:
    """The problem names the field and the value."""
    (problem,) = problems({field: value})
    assert problem.startswith((f'"{field}"', f'"{field}['))


def test_tasks() -> None:
    """The Hub takes a task that is none of its own, and says so."""
    assert list(problems({"pipeline_tag": "conversational"})) == []
    (warning,) = warnings({"pipeline_tag": "conversational"})
    assert warning.startswith('The pipeline tag "conversational" is not in the official list: ')
    assert list(warnings({"pipeline_tag": "text-generation"})) == []


def test_license_of_no_list() -> None:
    """It has a name and a text, which is a file or a page."""
    other = {"license": "other", "license_name": "qwen-research", "license_link": "LICENSE"}
    assert list(problems(other)) == []
    assert list(problems(other | {"license_link": "https://example.com/a"})) == []
    assert len(list(problems({"license": "other"}))) == 2
    assert len(list(problems(other | {"license_name": "Qwen Research"}))) == 1
    assert len(list(problems(other | {"license_link": "somewhere"}))) == 1
