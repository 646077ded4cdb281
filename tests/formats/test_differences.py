"""How an export differs from what it should be is told by what was done to it."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tagship.formats.differences import differences, file_differences, listed

from tests import tiny

Array = np.ndarray[Any, Any]
NAMES = ("a.weight", "b.weight", "c.weight")
MODEL = "model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Array]:
    random = np.random.default_rng(0)
    tensors = {name: random.normal(size=(64, 64)).astype(ml_dtypes.bfloat16) for name in NAMES}
    (tmp_path / "base").mkdir()
    tiny.write_tensors(tmp_path / "base" / MODEL, tensors)
    return tensors


@pytest.fixture
def change() -> dict[str, Array]:
    random = np.random.default_rng(1)
    return {name: 0.1 * random.normal(size=(64, 64)).astype(np.float32) for name in NAMES}


def merged(base: dict[str, Array], change: dict[str, Array], times: float) -> dict[str, Array]:
    return {name: (base[name].astype(np.float32) + times * change[name]).astype(ml_dtypes.bfloat16) for name in base}


def told(tmp_path: Path, there: dict[str, Array], expected: dict[str, Array]) -> list[str]:
    for name, tensors in (("there", there), ("expected", expected)):
        (tmp_path / name).mkdir()
        tiny.write_tensors(tmp_path / name / MODEL, tensors)
    return differences(tmp_path / "there", tmp_path / "expected", tmp_path / "base")


def test_the_same(tmp_path: Path, base: dict[str, Array]) -> None:
    """Of what is the same nothing is told."""
    assert told(tmp_path, base, base) == []


def test_tensors(tmp_path: Path, base: dict[str, Array], change: dict[str, Array]) -> None:
    """Tensors that are zero, missing, of another shape, too many, or in each other's place are told as that."""
    expected = merged(base, change, 1) | {"d.weight": base["a.weight"][:2], "e.weight": base["a.weight"][:3]}
    there = {
        "a.weight": np.zeros_like(base["a.weight"]),
        "b.weight": expected["c.weight"],
        "c.weight": expected["b.weight"],
        "d.weight": expected["d.weight"][:1],
        "f.weight": base["a.weight"],
    }
    assert told(tmp_path, there, expected) == [
        "e.weight is missing",
        "f.weight should not be there",
        "d.weight is BF16 [1, 64] and not BF16 [2, 64]",
        f"a.weight is all zero in {MODEL}",
        "b.weight has the numbers of c.weight",
        "c.weight has the numbers of b.weight",
    ]


@pytest.mark.parametrize(("times", "words"), [(2.0, "2 times"), (0.5, "0.5 times"), (-1.0, "-1 times"), (0.0, "not")])
def test_change_that_is_not_there_once(
    tmp_path: Path, base: dict[str, Array], change: dict[str, Array], times: float, words: str
) -> None:
    """An adapter that was merged by another scale, twice or not at all is told by how much of it there is."""
    found = told(tmp_path, merged(base, change, times), merged(base, change, 1))
    assert found == [f"the adapter's change is {words} in a.weight and 2 more"]


def test_other_numbers(tmp_path: Path, base: dict[str, Array], change: dict[str, Array]) -> None:
    """A change that is no multiple of the adapter's is only told as other numbers."""
    random = np.random.default_rng(2)
    other = {"a.weight": random.normal(size=(64, 64)).astype(ml_dtypes.bfloat16)}
    expected = merged(base, change, 1)
    assert told(tmp_path, expected | other, expected) == ["a.weight has other numbers"]


def test_damaged_file(tmp_path: Path, base: dict[str, Array]) -> None:
    """A file that is cut off is damaged, and nothing is said of the tensors in it."""
    assert told(tmp_path, base, base) == []
    path = tmp_path / "there" / MODEL
    path.write_bytes(path.read_bytes()[:-10])
    assert differences(tmp_path / "there", tmp_path / "expected") == [f"{MODEL} is damaged"]


def test_files(tmp_path: Path) -> None:
    """Files are told by name, JSON by its keys; what a folder has beside what is expected is not looked at."""
    for name, files in {
        "there": {"a.json": '{"x": 1, "z": {"deep": 1}}', "b.txt": "one", "bad.json": "{", "more": ""},
        "expected": {"a.json": '{"x": 2, "y": 1, "z": {"deep": 2}}', "b.txt": "two", "bad.json": "{}", "c/d": ""},
    }.items():
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
    found = differences(tmp_path / "there", tmp_path / "expected")
    of_keys = ["x is 1 and not 2 in a.json", "y is missing in a.json", "z.deep is 1 and not 2 in a.json"]
    assert found == ["c/d is missing", *of_keys, "b.txt is another", "bad.json is another"]
    assert listed(found) == "; ".join(found[:4]) + "; and 2 more"


@pytest.mark.parametrize(
    ("name", "there", "wanted", "told"),
    [
        ("a.json", b'{"x": {"y": 1}}', b'{"x": {"y": 2}}', "x.y is 1 and not 2"),
        ("a.json", b'{"x": 1}', b'{"x":1}', "line 1 is another"),
        ("card.md", b"one\ntwo\n", b"one\nthree\n", "line 2 is another"),
        ("card.md", b"one\n", b"one\ntwo\n", "line 2 is another"),
        ("tokenizer.model", b"\0\1\2", b"\0\1\3", "byte 2 is another"),
    ],
)
def test_where_a_file_differs(tmp_path: Path, name: str, there: bytes, wanted: bytes, told: str) -> None:
    """The keys of a document, else the first line of text or the first byte."""
    for folder, content in (("there", there), ("wanted", wanted)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    assert file_differences(tmp_path / "there" / name, tmp_path / "wanted" / name) == [told]
