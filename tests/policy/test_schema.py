"""The JSON Schema of release.toml that ships."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import tomli
from tagship.formats.registry import shipped_names
from tagship.policy.schema import SCHEMA_FILE, keys_of, meaning_of, meanings, schema_of

jsonschema = pytest.importorskip("jsonschema")

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return schema_of(shipped_names())


def test_the_file_is_what_the_code_reads(schema: dict[str, Any]) -> None:
    """`python -m tagship.policy.schema` was run after the last change."""
    assert json.loads((REPOSITORY / "docs" / SCHEMA_FILE).read_text()) == schema


def test_every_key_is_told(schema: dict[str, Any]) -> None:
    """What is read has a meaning, and what has one is read."""
    keys, known = list(keys_of(schema)), meanings()
    assert [key for key in keys if meaning_of(key, known) is None] == []
    assert [key for key in known if not any(fnmatchcase(found, key) for found in keys)] == []


def policies() -> list[tuple[str, str]]:
    """release.toml of this repository and of each document that shows parts of one."""
    found = [("release.toml", (REPOSITORY / "release.toml").read_text())]
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))):
        for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)):
            if not re.search(
                r"^\[\[|^\[(users|organizations|project\.entry)", block, re.MULTILINE
            ):  # of others, such as the Hub's users
                found.append((f"{page.name} {number}", block))
    return found


@pytest.mark.parametrize(("where", "text"), policies(), ids=[where for where, _ in policies()])
def test_documents_fit(schema: dict[str, Any], where: str, text: str) -> None:
    """What documents show is what an editor takes; parts of a policy lack what others have."""
    document = tomli.loads(text)
    if where != "release.toml" and not any(isinstance(value, dict) for value in document.values()):
        document = {"project": document}
    problems = [
        error for error in jsonschema.Draft7Validator(schema).iter_errors(document) if error.validator != "required"
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[project]\nnamespce = 'a'", "namespce"),
        ("[hub]\nprivate = 'yes'", "boolean"),
        ("[verify]\nmax_tokens = 0", "minimum"),
        ("[checks]\nclean = 'maybe'", "is not one of"),
        ("[bases.'a/b']\npth = 'x'", "pth"),
        ("[verify.limits.q4_k_m]\ntop1 = 2", "maximum"),
    ],
)
def test_mistakes_show(schema: dict[str, Any], text: str, problem: str) -> None:
    """An editor marks what a release would refuse."""
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(tomli.loads(text)))
    assert any(problem in error.message for error in errors)
