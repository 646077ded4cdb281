"""The file of cases: what is in it, and what is wrong with it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tagship.evaluation.cases import Case, read_cases
from tagship.evaluation.scoring import COMMAND, EXACT, JSON_SCHEMA, REGEX, Scoring
from tagship.system.errors import ReleaseError, UsageError

PLAIN = Scoring()


def write(folder: Path, *records: Any) -> Path:
    """A file with a record on each line; text is a line as it is."""
    path = folder / "cases.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(folder: Path, *records: Any, scoring: Scoring = PLAIN) -> tuple[Case, ...]:
    return read_cases(write(folder, *records), scoring)


def sum_of(a: int, b: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"What is {a} + {b}?", "expected": str(a + b)} | more


def test_cases(tmp_path: Path) -> None:
    """Each line is a case; blank ones are none, and a case without a name is called by its line."""
    cases = read(tmp_path, sum_of(1, 2), "", "  \r", sum_of(2, 3, id="five", score="regex"))
    assert [(case.id, case.prompt, case.expected, case.score) for case in cases] == [
        ("line 1", "What is 1 + 2?", "3", EXACT),
        ("five", "What is 2 + 3?", "5", REGEX),
    ]


def test_policy_says_how_cases_are_scored(tmp_path: Path) -> None:
    """The policy's way holds where a case has none of its own."""
    cases = read(tmp_path, sum_of(1, 2), sum_of(2, 3, score="exact"), scoring=Scoring(default=REGEX))
    assert [case.score for case in cases] == [REGEX, EXACT]


def test_text_of_all_kinds(tmp_path: Path) -> None:
    """Line ends of Windows, a byte order mark and Unicode's own line ends within a text are no trouble."""
    path = tmp_path / "cases.jsonl"
    lines = ['{"prompt": "a\u2028b", "expected": "\u00e9"}', '{"prompt": "c", "expected": "\U0001f600"}']
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert [(case.prompt, case.expected) for case in read_cases(path, PLAIN)] == [
        ("a\u2028b", "\u00e9"),
        ("c", "\U0001f600"),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is no JSON: "),
        ('{"prompt": "a", "expected": NaN}', "is no JSON: NaN is not JSON"),
        ('{"prompt": "a", "prompt": "b", "expected": "c"}', "is no JSON: the key 'prompt' is there twice"),
        ("[" * 100_000, "is no JSON: nested too deeply"),
        ("[]", "is no JSON object"),
        ({"expected": "a"}, "'prompt' must be a text that is not empty"),
        ({"prompt": " ", "expected": "a"}, "'prompt' must be a text"),
        ({"prompt": 3, "expected": "a"}, "'prompt' must be a text"),
        ('{"prompt": "a\\ud800", "expected": "a"}', "'prompt' holds half of a pair of surrogates"),
        ({"prompt": "a"}, "'expected' must be a text that is not empty"),
        ({"prompt": "a", "expected": 5}, "'expected' must be a text that is not empty"),
        ({"prompt": "a", "expected": "(", "score": "regex"}, "'expected' is no regular expression: missing )"),
        ({"prompt": "a", "expected": "a", "score": "regexp"}, "'score' unknown 'regexp': did you mean 'regex'?"),
        ({"prompt": "a", "expected": "a", "score": ["exact"]}, "'score' unknown ['exact']"),
        ({"prompt": "a", "expectd": "a"}, "'expectd' is unknown: did you mean 'expected'?"),
        ({"prompt": "a", "expected": "a", "id": ""}, "'id' must be a text of one line"),
        ({"prompt": "a", "expected": "a", "id": 7}, "'id' must be a text of one line"),
        ({"prompt": "a", "expected": "a", "id": "a\nb"}, "'id' must be a text of one line"),
        ({"prompt": "a", "expected": "a", "id": "a" * 101}, "'id' must be a text of one line and at most 100 letters"),
        ({"prompt": "a", "score": "json_schema"}, "'expected' is missing: give it a JSON schema, or"),
        ({"prompt": "a", "score": "command"}, "'expected' needs a program that scores: give [evaluate] command"),
        (sum_of(1, 1, id="first"), "'id' 'first' is that of another case"),
        (sum_of(0, 1, id="again"), "it is the same as 'first', which would count twice"),
    ],
)
def test_one_mistake(line: Any, problem: str, tmp_path: Path) -> None:
    """A mistake is told with file and line."""
    with pytest.raises(ReleaseError) as caught:
        read(tmp_path, sum_of(0, 1, id="first"), "", line)
    title, told = str(caught.value).splitlines()
    assert title == f"{tmp_path / 'cases.jsonl'} has 1 mistake:"
    assert told.startswith(f"  line 3: {problem}")
    assert '{"prompt": ' in str(caught.value.remedy)


def test_mistakes_at_once(tmp_path: Path) -> None:
    """All lines are read; of many mistakes the first ones are told, and how many there are."""
    with pytest.raises(ReleaseError) as caught:
        read(tmp_path, *["{"] * 12)
    title, *told = str(caught.value).splitlines()
    assert title.endswith("has 12 mistakes:")
    assert [line.split(":")[0].strip() for line in told] == [f"line {n}" for n in range(1, 11)] + ["… and 2 more"]


def test_empty_file(tmp_path: Path) -> None:
    """A file without a case is refused: nothing would be shown."""
    with pytest.raises(ReleaseError, match="is empty: without a case nothing is shown"):
        read(tmp_path, "", " ")


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_no_file(name: str, tmp_path: Path) -> None:
    """A file that is not there is a mistake in release.toml."""
    with pytest.raises(UsageError, match="cannot be read: ") as caught:
        read_cases(tmp_path / name, PLAIN)
    assert "[evaluate] file" in str(caught.value.remedy)


def test_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told with their place."""
    (tmp_path / "cases.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(ReleaseError, match="is not UTF-8 at byte 12"):
        read_cases(tmp_path / "cases.jsonl", PLAIN)


def test_pointer_of_git_lfs(tmp_path: Path) -> None:
    """A file that was not fetched is told as that."""
    with pytest.raises(ReleaseError, match="is a pointer of git LFS"):
        read(tmp_path, "version https://git-lfs.github.com/spec/v1", "oid sha256:0", "size 1")


def test_too_many_cases(tmp_path: Path) -> None:
    """A benchmark is no task of a release."""
    with pytest.raises(ReleaseError, match="too large for a release: 10,001 cases, and at most 10,000 are asked"):
        read(tmp_path, *["{}"] * 10_001)


def test_too_many_bytes(tmp_path: Path) -> None:
    """A file that is too large is not even read."""
    path = tmp_path / "cases.jsonl"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ReleaseError, match="too large for a release: more than 16 MiB"):
        read_cases(path, PLAIN)


# What cases of two releases are the same


def digest(folder: Path, record: dict[str, Any], scoring: Scoring = PLAIN) -> str:
    (case,) = read(folder, record, scoring=scoring)
    return case.digest


def test_digest(tmp_path: Path) -> None:
    """A case stays the same under another name, and is another with another prompt, expectation or score."""
    first = digest(tmp_path, sum_of(1, 2))
    assert digest(tmp_path, sum_of(1, 2, id="three")) == first
    others = [sum_of(2, 1), sum_of(1, 2, expected="4"), sum_of(1, 2, score="regex")]
    assert len({first, *(digest(tmp_path, record) for record in others)}) == 4


def test_digest_of_what_a_program_scores(tmp_path: Path) -> None:
    """A case that a program scores is another when the words or the script change; files elsewhere do not count."""
    script = tmp_path / "score.py"
    script.write_text("print(1)")

    def now(*words: str) -> str:
        return digest(tmp_path, sum_of(1, 2), Scoring(default=COMMAND, command=words, folder=tmp_path))

    first = now(sys.executable, "score.py")
    assert now(sys.executable, "score.py") == first
    assert now(sys.executable, "score.py", "--strict") != first
    assert now(sys.executable, "-c", f"print({'1' * 5000})") != first  # too long for the name of a file
    script.write_text("print(0)")
    assert now(sys.executable, "score.py") != first


def test_digest_of_what_a_schema_scores(tmp_path: Path) -> None:
    """A case that a schema scores is another when the policy's schema says something else, however it is written."""
    pytest.importorskip("jsonschema")
    schema = tmp_path / "schema.json"
    scoring = Scoring(default=JSON_SCHEMA, schema=schema)
    found = []
    for text in ('{"type": "object"}', '{\n"type":\t"object"}', '{"type": "array"}'):
        schema.write_text(text)
        found.append(digest(tmp_path, {"prompt": "a"}, scoring))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "schema.json is not valid JSON: "),
        ("3", "schema.json is no JSON schema: it must be an object"),
        ('{"type": "strin"}', "schema.json is no JSON schema: at type"),
    ],
)
def test_schema_of_the_policy(content: str, problem: str, tmp_path: Path) -> None:
    """What is wrong with the policy's schema is told of its file, not of each line."""
    pytest.importorskip("jsonschema")
    (tmp_path / "schema.json").write_text(content)
    with pytest.raises(ReleaseError, match=problem):
        read(tmp_path, {"prompt": "a"}, scoring=Scoring(default=JSON_SCHEMA, schema=tmp_path / "schema.json"))


def test_missing_schema(tmp_path: Path) -> None:
    """A schema that is not there is a mistake in release.toml."""
    pytest.importorskip("jsonschema")
    with pytest.raises(UsageError, match="cannot be read: ") as caught:
        read(tmp_path, {"prompt": "a"}, scoring=Scoring(default=JSON_SCHEMA, schema=tmp_path / "none.json"))
    assert "[evaluate] schema" in str(caught.value.remedy)


def test_schemas_of_cases(tmp_path: Path) -> None:
    """A case may have a schema of its own."""
    pytest.importorskip("jsonschema")
    scoring = Scoring(default=JSON_SCHEMA)
    (case,) = read(tmp_path, {"prompt": "a", "expected": {"type": "object"}}, scoring=scoring)
    assert case.expected == {"type": "object"}
    with pytest.raises(ReleaseError, match="'expected' is no JSON schema: at type"):
        read(tmp_path, {"prompt": "a", "expected": {"type": "strin"}}, scoring=scoring)
