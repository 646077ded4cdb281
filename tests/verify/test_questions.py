"""Questions and answers on their way between processes."""

from pathlib import Path

import numpy as np
import pytest
from tagship.verify.questions import Answer, read_answers, write_answers

TEXT = '  “é” \u4e2d \U0001f600\n\t{"a": 1}\0\u2028 '


def answer(rows: int, columns: int = 5) -> Answer:
    logprobs = np.linspace(-9, 0, rows * columns, dtype=np.float32).reshape(rows, columns)
    if rows:
        logprobs[0, 0] = -np.inf
    return Answer(prompt=TEXT, prompt_ids=(1, 2, 3), ids=tuple(range(rows)), text=TEXT[::-1], logprobs=logprobs)


@pytest.mark.parametrize("rows", [[], [0], [1], [3, 0, 7]])
def test_round_trip(tmp_path: Path, rows: list[int]) -> None:
    """Answers are read as they were written: texts, tokens and log-probabilities, bit by bit."""
    written = tuple(answer(number) for number in rows)
    write_answers(tmp_path / "answers.npz", written)
    read = read_answers(tmp_path / "answers.npz")
    assert len(read) == len(written)
    for ours, theirs in zip(read, written, strict=True):
        assert (ours.prompt, ours.prompt_ids, ours.ids, ours.text) == (
            theirs.prompt,
            theirs.prompt_ids,
            theirs.ids,
            theirs.text,
        )
        assert ours.logprobs.dtype == np.float32
        assert ours.logprobs.shape == theirs.logprobs.shape
        assert ours.logprobs.tobytes() == theirs.logprobs.tobytes()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A file with a pickled object in place of the answers is refused, and the object is not loaded."""
    np.savez(tmp_path / "answers.npz", described=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_answers(tmp_path / "answers.npz")


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    """Text that is no valid Unicode, as a runtime may answer, is carried all the same."""
    broken = Answer(prompt="\ud800", prompt_ids=(), ids=(), text="\udfff", logprobs=np.zeros((0, 1), np.float32))
    write_answers(tmp_path / "answers.npz", (broken,))
    (read,) = read_answers(tmp_path / "answers.npz")
    assert (read.prompt, read.text) == ("\ud800", "\udfff")
