"""Answers held against JSON schemas."""

import subprocess
import sys
from typing import Any

import pytest
from tagship.evaluation.json_scorer import json_schema, parse_answer

pytest.importorskip("jsonschema")

NAMED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 2}},
    "required": ["name"],
}
GOOD = '{"name": "Ada"}'


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"\n {GOOD} \n",
        f"```json\n{GOOD}\n```",
        f"Here it is:\n\n```JSON\n{GOOD}\n```\nAnything else?",
        f"```\n{GOOD}\n```",
        f"  ```json\n  {GOOD}\n  ```",
    ],
)
def test_right_answers(answer: str) -> None:
    """JSON is the whole answer, or stands in a fence of it."""
    assert json_schema(NAMED)(answer) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Ada",
        '{"name": "A"}',
        '{"name": 3}',
        "{}",
        "[]",
        f"It is {GOOD}",
        f"{GOOD} {GOOD}",
        '{"name": "Ada"',
        "{'name': 'Ada'}",
        f"```json\n{GOOD}",
        f"```python\n{GOOD}\n```",
        f"```json\nno\n```\n```json\n{GOOD}\n```",
        '{"name": "Ada", "n": NaN}',
        '{"name": "Ada", "name": "Bob"}',
        "[" * 100_000,
    ],
)
def test_wrong_answers(answer: str) -> None:
    """What is no JSON, and JSON that does not satisfy the schema, has no points. Python's own additions are no JSON,
    and of a key that is there twice readers take either value."""
    assert json_schema(NAMED)(answer) == 0


def test_formats() -> None:
    """`format` is held against, where the library can do so by itself."""
    scorer = json_schema({"type": "string", "format": "date"})
    assert (scorer('"2025-09-14"'), scorer('"2025-13-14"')) == (1, 0)


def test_dialects() -> None:
    """A schema may say which kind of schema it is; what a word means depends on it."""
    tuples = {"items": [{"type": "string"}], "additionalItems": False}
    scorer = json_schema({"$schema": "http://json-schema.org/draft-07/schema#", **tuples})
    assert (scorer('["a"]'), scorer('["a", "b"]')) == (1, 0)


@pytest.mark.parametrize("reference", ["#/$defs/name", "#anchored", "https://json-schema.org/draft/2020-12/schema"])
def test_references(reference: str) -> None:
    """A schema may refer to its own parts, and to the schema of schemas."""
    own = {"name": {"type": "object"}, "other": {"$anchor": "anchored", "type": "object"}}
    scorer = json_schema({"$ref": reference, "$defs": own})
    assert (scorer("{}"), scorer("3")) == (1, 0)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (3, "must be an object"),
        (True, "must be an object"),
        ("{}", "must be an object"),
        ({"type": "strin"}, "is no JSON schema: at type, 'strin'"),
        ({"properties": {"a": {"pattern": "("}}}, "at properties/a/pattern, "),
        ({"$schema": "https://example.org/mine"}, "unknown kind: 'https://example.org/mine'"),
        ({"$schema": 7}, "unknown kind: 7"),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}}, r"refers to '#/\$defs/a', which is not in it"),
        ({"items": {"$ref": "other.json"}}, "refers to 'other.json', which is not in it"),
        ({"$ref": "https://example.org/schema.json"}, "refers to 'https://example.org/schema.json'"),
        ({"$ref": "#"}, "refers to itself without end"),
    ],
)
def test_no_schema(schema: Any, problem: str) -> None:
    """What is no schema is told when the case is read, with the place; nothing is fetched."""
    with pytest.raises(ValueError, match=problem):
        json_schema(schema)


def test_names_that_look_like_references() -> None:
    """A property that is called $ref is no reference."""
    scorer = json_schema({"properties": {"$ref": {"type": "string"}}, "required": ["$ref"]})
    assert (scorer('{"$ref": "x"}'), scorer("{}")) == (1, 0)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": 1, "a": 1}', "", "nothing"])
def test_no_json(text: str) -> None:
    """ValueError says what is no JSON."""
    with pytest.raises(ValueError, match=r"\S"):
        parse_answer(text)


def test_library_is_imported_where_it_is_used() -> None:
    """Tasks that score nothing do not wait for the library."""
    program = (
        "import sys, tagship.policy.config, tagship.evaluation.results, tagship.evaluation.model_index\n"
        "print([name for name in ('jsonschema', 'referencing', 'huggingface_hub', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
