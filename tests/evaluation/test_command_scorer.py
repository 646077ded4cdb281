"""Answers that a program scores."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tagship.evaluation.command_scorer import Command, score_by_command
from tagship.system.errors import ToolError

ASKED = {"prompt": "What is 2 + 3?", "answer": "5\u00e9\ud800", "expected": {"sum": 5}}


def python(program: str, folder: Path, seconds: float = 60) -> Command:
    return Command(words=(sys.executable, "-c", program), folder=folder, seconds=seconds)


@pytest.mark.parametrize(
    ("program", "points"),
    [
        ("print(0.25)", 0.25),
        ("print(' 1 ')", 1),
        ("print(0)", 0),
        ("print('1e-3')", 0.001),
        ("", 1),
        ("exit(1)", 0),
        ("import sys; print('why', file=sys.stderr); print(0.5)", 0.5),
        ("import sys; print('a warning', file=sys.stderr)", 1),
    ],
)
def test_points(program: str, points: float, tmp_path: Path) -> None:
    """A program prints its number, or says right or wrong by its exit code."""
    assert score_by_command(python(program, tmp_path), ASKED) == points


def test_what_it_is_told(tmp_path: Path) -> None:
    """It reads the case as one JSON object, in the folder that it is run in."""
    program = "import sys; open('told.json', 'w').write(sys.stdin.read())"
    assert score_by_command(python(program, tmp_path), ASKED) == 1
    assert json.loads((tmp_path / "told.json").read_text()) == ASKED


def test_it_need_not_read(tmp_path: Path) -> None:
    """A program that does not read a long answer is no failure."""
    assert score_by_command(python("print(1)", tmp_path), {"answer": "x" * 1_000_000}) == 1


def test_it_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of this process are not in its environment, nor does it find the one that was logged in with."""
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    monkeypatch.setenv("MINE", "kept")
    program = "import os; assert 'HF_TOKEN' not in os.environ; print(float(os.environ['MINE'] == 'kept'))"
    assert score_by_command(python(program, tmp_path), ASKED) == 1
    token = "import os; print(float(os.environ['HF_TOKEN_PATH'] == os.devnull))"
    assert score_by_command(python(token, tmp_path), ASKED) == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise KeyError('gold')", r"failed \(exit code 1\):\n(?s:.*)KeyError: 'gold'"),
        ("exit(2)", r"failed \(exit code 2\)"),
        ("print(1); exit(1)", r"failed \(exit code 1\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"failed \(killed by signal 9\)"),
        ("print('right')", "printed 'right', which is no number from 0 to 1"),
        ("print(1.01)", "printed '1.01'"),
        ("print(-1)", "printed '-1'"),
        ("print('nan')", "printed 'nan'"),
        ("print(1); print(1)", "printed '1"),
    ],
)
def test_failures(program: str, said: str, tmp_path: Path) -> None:
    """A program that fails gives no points, not even 0: its failure is told, with its own last words."""
    with pytest.raises(ToolError, match=said) as caught:
        score_by_command(python(program, tmp_path), ASKED)
    assert "a number from 0 to 1" in str(caught.value.remedy)


def test_time_limit(tmp_path: Path) -> None:
    """A program that takes too long is ended, with all that it started: nothing goes on to write."""
    child = "import time; time.sleep(600)"
    program = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "open('pid', 'w').write(str(child.pid)); child.wait()"
    )
    with pytest.raises(ToolError, match="took longer than 2 seconds for one answer"):
        score_by_command(python(program, tmp_path, seconds=2), ASKED)
    pid = int((tmp_path / "pid").read_text())
    with suppress(psutil.NoSuchProcess):  # it is being ended, which takes its time on a busy machine
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("words", [("no-such-program",), ("./missing.sh",), (".",)])
def test_cannot_be_started(words: tuple[str, ...], tmp_path: Path) -> None:
    """A program that is not there is a failure, which names the key of the policy."""
    with pytest.raises(ToolError, match="cannot be started: ") as caught:
        score_by_command(Command(words=words, folder=tmp_path), ASKED)
    assert "[evaluate] command" in str(caught.value.remedy)
