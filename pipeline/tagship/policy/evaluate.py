"""`[evaluate]`: a task that models are scored on, if the project has one.

    [evaluate]
    file           = "tests.jsonl"              # the cases (tagship/evaluation/cases.py), relative to release.toml
    name           = "AVRO schemas"             # what reports and the card call the task; default: the file's name
    score          = "json_schema"              # exact (default), regex, json_schema or command; a case may say its own
    schema         = "avro.schema.json"         # that every answer satisfies which is scored by json_schema
    command        = ["python", "score.py"]     # scores one answer, told {"prompt", "answer", "expected"} as JSON
    max_tokens     = 256                        # of an answer
    max_regression = 0.05                       # how much the mean score may be lower

`command` is run without a shell in the folder of release.toml, once for each answer, and without the environment's
secrets. It prints a number from 0 to 1, or nothing and exits with 0 or 1 (tagship/evaluation/command_scorer.py).

`max_regression` is a fraction, by which the mean score may be lower than that of base + adapter and of the last
release, over the cases that both were asked. By default it is 0: models are asked greedily, so that a lower score is no
chance, and the cases are what the project itself said the model must do. Gains make up for losses. A coarse
quantization type, or a command whose points are finely graded, wants a limit.
"""

from pathlib import Path

from msgspec import Struct

from tagship.evaluation.scoring import COMMAND, EXACT, SCORES, Scoring
from tagship.system.toml_reader import Reader


class EvaluatePolicy(Struct, frozen=True, kw_only=True):
    """A task: `name` is what people call it, `file` holds its cases, `max_regression` is how much lower the mean score
    may be than that of base + adapter, or of the last release: a fraction."""

    name: str
    file: Path
    scoring: Scoring
    max_tokens: int
    max_regression: float


def read_evaluate(table: Reader, folder: Path) -> EvaluatePolicy:
    """The table `[evaluate]`; `folder` is that of release.toml. Its files are read where they are needed."""
    table.required("file", "the cases, a JSON object with `prompt` and `expected` on each line")
    file = table.path("file", "")
    policy = EvaluatePolicy(
        name=table.text("name", file.stem),
        file=file,
        scoring=_scoring(table, folder),
        max_tokens=table.count("max_tokens", 256),
        max_regression=table.fraction("max_regression", 0.0),
    )
    if not policy.name.strip() or not policy.name.isprintable():
        table.note("name", f"must be a text of one line, not {policy.name!r}")
    table.close()
    return policy


def _scoring(table: Reader, folder: Path) -> Scoring:
    if table.has("schema"):
        table.required("schema", "a file with a JSON schema")
    scoring = Scoring(
        default=table.choice("score", EXACT, SCORES),
        schema=table.optional_path("schema"),
        command=table.texts("command", ()),
        folder=folder,
    )
    if scoring.default == COMMAND and not table.has("command"):
        table.note("command", 'is missing: the words of the program that scores, such as ["python", "score.py"]')
    return scoring
