"""The cases of a task: prompts with what is expected of the answers, one JSON object on each line of a file.

    {"prompt": "What is 2 + 3?", "expected": "5"}
    {"prompt": "Name a color.", "expected": "(?i)\\b(red|green|blue)\\b", "score": "regex", "id": "color"}

`prompt` is what a user says; the model's own chat template makes the prompt of it. `score` is how the answer is scored,
where it is not as `[evaluate] score` says. `id` is what reports call the case, else it is its line. `expected` is

- for `exact` the text of the answer;
- for `regex` a regular expression of Python, which is found anywhere in the answer;
- for `json_schema` a schema that the answer satisfies besides `[evaluate] schema`, one of which must be there;
- for `command` anything: it is handed on.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.evaluation.json_scorer import parse_json
from tagship.evaluation.scorers import Scorers
from tagship.evaluation.scoring import SCORES, Scoring
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git_lfs import refuse_pointer
from tagship.system.toml_reader import hint

# Each case is an answer of each model of a release: more than this is a benchmark, and none of a release.
_MOST_CASES = 10_000
_MOST_BYTES = 16 << 20
_LONGEST_ID = 100
_KEYS = ("prompt", "expected", "score", "id")
_TOLD = 10
_DIGEST_LETTERS = 16


class Case(Struct, frozen=True, kw_only=True):
    """A prompt and how its answer is scored. `digest` is of all that decides the points but the answer: cases of two
    releases are the same where it is, whatever they are called."""

    id: str
    prompt: str
    expected: Any
    score: str
    digest: str


def read_cases(path: Path, scoring: Scoring) -> tuple[Case, ...]:
    """The cases in a file, each tried out: its expression, schema or command is known to be one.

    Raises UsageError where there is no such file, ReleaseError that lists what is wrong with its lines.
    """
    scorers = Scorers(scoring)
    cases: list[Case] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            case = _case(line, f"line {number}", scorers, scoring.default)
            _check_new(case, seen)
            cases.append(case)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = [f"… and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        listed = "\n".join(f"  {problem}" for problem in [*problems[:_TOLD], *more])
        raise ReleaseError(
            f"{path} has {len(problems)} {'mistake' if len(problems) == 1 else 'mistakes'}:\n{listed}",
            remedy='each line is a JSON object such as {"prompt": "What is 2 + 3?", "expected": "5"}',
        )
    return tuple(cases)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines with something in them, by their numbers."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _too_large(path, f"more than {_MOST_BYTES >> 20} MiB")
        content = path.read_bytes()
        # Not by splitlines: JSON may hold other line ends within its strings.
        lines = list(enumerate(content.decode("utf-8-sig").split("\n"), 1))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", remedy="correct [evaluate] file in release.toml"
        ) from None
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is not UTF-8 at byte {error.start}", remedy="save it as UTF-8") from None
    refuse_pointer(path, content)
    filled = [(number, line) for number, line in lines if line.strip()]
    if not filled:
        raise ReleaseError(
            f"{path} is empty: without a case nothing is shown",
            remedy='write one case on each line, such as {"prompt": "What is 2 + 3?", "expected": "5"}',
        )
    if len(filled) > _MOST_CASES:
        raise _too_large(path, f"{len(filled):,} cases, and at most {_MOST_CASES:,} are asked")
    return filled


def _too_large(path: Path, how: str) -> ReleaseError:
    return ReleaseError(
        f"{path} is too large for a release: {how}",
        remedy="keep a sample of it: every model of a release answers each case, token by token",
    )


def _case(line: str, place: str, scorers: Scorers, default: str) -> Case:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("is no JSON object")
    for key in record:
        if key not in _KEYS:
            raise ValueError(f"{key!r} is unknown{hint(key, _KEYS)}")
    prompt, expected, score = record.get("prompt"), record.get("expected"), record.get("score", default)
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("'prompt' must be a text that is not empty")
    if not prompt.isascii() and any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise ValueError("'prompt' holds half of a pair of surrogates, which is no character")
    if score not in SCORES:
        raise ValueError(f"'score' unknown {score!r}{hint(str(score), SCORES)}")
    try:
        scorers.of(score, prompt, expected)
    except ValueError as error:
        raise ValueError(f"'expected' {error}") from None
    return Case(
        id=_id(record.get("id", place)),
        prompt=prompt,
        expected=expected,
        score=score,
        digest=_digest([prompt, expected, score, scorers.basis(score)]),
    )


def _check_new(case: Case, seen: dict[str, str]) -> None:
    """Note a case by its name and by what it is. Raises ValueError for one that is there already."""
    if f"id {case.id}" in seen:
        raise ValueError(f"'id' {case.id!r} is that of another case: each needs its own")
    if (other := seen.get(f"digest {case.digest}")) is not None:
        raise ValueError(f"it is the same as {other!r}, which would count twice")
    seen |= {f"id {case.id}": case.id, f"digest {case.digest}": case.id}


def _id(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_ID:
        raise ValueError(f"'id' must be a text of one line and at most {_LONGEST_ID} letters, not {value!r:.40}")
    return value


def _digest(parts: Any) -> str:
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGEST_LETTERS]
