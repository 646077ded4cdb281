"""Runs a model in a process of its own: its memory is given back, and its crash is reported.

A worker is a module of this package that is run with a questions file and an answers file.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import ToolError
from pipeline.machine import available_memory
from pipeline.verify.answers import Answers, Questions, read_answers
from pipeline.weights.checkpoint import open_checkpoint

_TAIL_LINES = 12
# All that a worker loads is on this disk; what it prints is only read when it fails.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}


def ask(worker: str, questions: Questions, what: str, **more: Any) -> Answers:
    """Let a worker answer; `more` goes to it with the questions.

    Raises ToolError with the end of what the worker printed when it fails or is killed.
    """
    with tempfile.TemporaryDirectory(prefix="tagship-verify-") as folder:
        asked, answered = Path(folder, "questions.json"), Path(folder, "answers.npz")
        questions.write(asked, **{key: str(value) for key, value in more.items() if value is not None})
        done = subprocess.run(
            [sys.executable, "-m", f"pipeline.verify.{worker}", str(asked), str(answered)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=Path(__file__).parents[2],
            env=os.environ | _ENVIRONMENT,
            check=False,
        )
        if done.returncode != 0 or not answered.is_file():
            raise ToolError(f"{what} does not run ({_ending(done.returncode)}):\n{_tail(done.stdout)}")
        return read_answers(answered)


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _tail(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def ask_transformers(
    questions: Questions, what: str, *, model: Path, adapter: Path | None = None, tokenizer: Path | None = None
) -> Answers:
    """Answers by transformers on the CPU; with an adapter, by PEFT on `model` as its base.

    Weights are run in float32 where that fits in memory, else in the checkpoint's own dtype.
    """
    return ask(
        "transformers_worker",
        questions,
        what,
        model=model,
        adapter=adapter,
        tokenizer=tokenizer or model,
        dtype=_dtype(model),
    )


def _dtype(model: Path) -> str:
    # A checkpoint in its own dtype is mapped from its files and takes next to no memory; float32
    # is a copy of twice the bytes of a 16-bit one, and needs some room to load and to work.
    return "float32" if open_checkpoint(model).nbytes * 2.5 < available_memory() else "auto"
