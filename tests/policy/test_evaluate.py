"""`[evaluate]`: the task that models are scored on."""

from pathlib import Path

import pytest
from tagship.evaluation.scoring import Scoring
from tagship.policy.config import Config, load_config
from tagship.system.errors import UsageError

MINIMAL = '[project]\nnamespace = "acme"\n[formats.vllm]\n'


def load(folder: Path, table: str) -> Config:
    (folder / "release.toml").write_text(MINIMAL + table, encoding="utf-8")
    return load_config(folder / "release.toml", {})


def mistakes(folder: Path, table: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(folder, table)
    return [line.removeprefix("  ") for line in str(caught.value).splitlines()[1:]]


def test_no_task(tmp_path: Path) -> None:
    """A project without the table has no task."""
    assert load(tmp_path, "").evaluate is None


def test_defaults(tmp_path: Path) -> None:
    """A file is enough: its name is the task's, answers are expected word for word, and none may be lost."""
    policy = load(tmp_path, '[evaluate]\nfile = "data/sums.jsonl"').evaluate
    assert policy is not None
    assert (policy.file, policy.name) == (tmp_path / "data" / "sums.jsonl", "sums")
    assert policy.scoring == Scoring(default="exact", schema=None, command=(), folder=tmp_path)
    assert (policy.max_tokens, policy.max_regression) == (256, 0.0)


def test_everything_said(tmp_path: Path) -> None:
    """Every key says what is in it; paths are beside release.toml."""
    policy = load(
        tmp_path,
        """
        [evaluate]
        file = "tests.jsonl"
        name = "AVRO schemas"
        score = "json_schema"
        schema = "schemas/avro.json"
        command = ["python", "score.py"]
        max_tokens = 16
        max_regression = 0.05
        """,
    ).evaluate
    assert policy is not None
    assert policy.name == "AVRO schemas"
    assert policy.scoring == Scoring(
        default="json_schema",
        schema=tmp_path / "schemas" / "avro.json",
        command=("python", "score.py"),
        folder=tmp_path,
    )
    assert (policy.max_tokens, policy.max_regression) == (16, 0.05)


@pytest.mark.parametrize("limit", ["0", "0.0", "1", "1.0", "0.5"])
def test_limits(tmp_path: Path, limit: str) -> None:
    """A regression may be forbidden, allowed, or anything between."""
    policy = load(tmp_path, f'[evaluate]\nfile = "a.jsonl"\nmax_regression = {limit}').evaluate
    assert policy is not None
    assert policy.max_regression == float(limit)


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """All mistakes of the table are told together, with those of others."""
    found = mistakes(
        tmp_path,
        """
        [evaluate]
        name = "two\\nlines"
        score = "regexp"
        schema = ""
        command = "python score.py"
        max_tokens = 0
        max_regression = 5
        max_regresion = 0.05
        [card]
        tag = []
        """,
    )
    expected = {
        "evaluate.file": "is missing: the cases, a JSON object with `prompt` and `expected` on each line",
        "evaluate.name": "must be a text of one line, not 'two\\nlines'",
        "evaluate.score": "unknown 'regexp': did you mean 'regex'?",
        "evaluate.schema": "is empty: a file with a JSON schema",
        "evaluate.command": "must be a list of strings, not 'python score.py'",
        "evaluate.max_tokens": "must be a whole number above zero, not 0",
        "evaluate.max_regression": "must be a number from 0 to 1, not 5",
        "evaluate.max_regresion": "is unknown: did you mean 'max_regression'?",
        "card.tag": "is unknown: did you mean 'tags'?",
    }
    assert dict(line.split(" ", 1) for line in found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("[evaluate]", "evaluate.file is missing"),
        ('[evaluate]\nfile = ""', "evaluate.file is empty"),
        ("[evaluate]\nfile = 3", "evaluate.file must be a string, not 3"),
        ('[evaluate]\nfile = "a"\nscore = "command"', "evaluate.command is missing: the words of the program"),
        ('[evaluate]\nfile = "a"\nname = " "', "evaluate.name must be a text of one line, not ' '"),
        ('[evaluate]\nfile = "a"\nmax_regression = true', "evaluate.max_regression must be a number from 0 to 1"),
        ('[evaluate]\nfile = "a"\nmax_regression = -0.1', "evaluate.max_regression must be a number from 0 to 1"),
        ('[evaluate]\nfile = "a"\nmax_regression = nan', "evaluate.max_regression must be a number from 0 to 1"),
        ('[evaluate]\nfile = "a"\nmax_regression = "5%"', "evaluate.max_regression must be a number from 0 to 1"),
        ('[evalute]\nfile = "a"', "evalute is unknown: did you mean 'evaluate'?"),
    ],
)
def test_one_mistake(tmp_path: Path, table: str, problem: str) -> None:
    """Each mistake is told by its dotted key, and nothing else is told with it."""
    (found,) = mistakes(tmp_path, table)
    assert found.startswith(problem)


def test_table_of_another_kind(tmp_path: Path) -> None:
    """What is no table is told as that."""
    assert "evaluate must be a table, not ['tests.jsonl']" in mistakes_at_top(tmp_path)


def mistakes_at_top(folder: Path) -> list[str]:
    (folder / "release.toml").write_text('evaluate = ["tests.jsonl"]\n' + MINIMAL, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(folder / "release.toml", {})
    return [line.strip() for line in str(caught.value).splitlines()[1:]]
