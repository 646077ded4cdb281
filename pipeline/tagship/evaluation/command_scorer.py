"""Answers that a program of the project scores: it is told of no secret of this process, and bounded in time."""

import json
import math
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.system.errors import ToolError
from tagship.system.secrets import without_secrets

# Where `hf auth login` keeps the token that a library would take up by itself.
_ENVIRONMENT = {"HF_TOKEN_PATH": os.devnull, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_OIDC_RESOURCE": ""}
_TAIL_LINES = 15
_CONTRACT = (
    "it has to print a number from 0 to 1, or to print nothing and exit with 0 for right or 1 for wrong; where it "
    "writes to standard error besides, it prints its number and exits with 0"
)


class Command(Struct, frozen=True, kw_only=True):
    """A program that scores one answer: its words, the folder that it runs in, the `seconds` that it may take."""

    words: tuple[str, ...]
    folder: Path
    seconds: float = 60.0


def score_by_command(command: Command, asked: Mapping[str, Any]) -> float:
    """The points that a program gives: `asked` comes to its standard input as one JSON object.

    It prints a number from 0 to 1, or prints nothing and exits with 0 (right) or 1 (wrong). Raises ToolError for
    anything else, also for an exit code of 1 with words on standard error: a script that crashes ends so, too.
    """
    code, printed, complaint = _run(command, json.dumps(asked).encode())
    said = printed.decode(errors="replace").strip()
    told = complaint.decode(errors="replace")
    if not said and (code == 0 or (code == 1 and not told.strip())):
        return float(code == 0)
    if code != 0:
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise ToolError(f"{_called(command)} failed ({ended}){_tail(told)}", remedy=_CONTRACT)
    points = _number(said)
    if not 0 <= points <= 1:  # also when it is none
        raise ToolError(f"{_called(command)} printed {said!r:.200}, which is no number from 0 to 1", remedy=_CONTRACT)
    return points


def _run(command: Command, asked: bytes) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error."""
    try:
        process = subprocess.Popen(
            command.words,
            cwd=command.folder,
            env=without_secrets(os.environ) | _ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # with what it starts itself, it can be ended as one
        )
    except OSError as error:
        raise ToolError(
            f"{_called(command)} cannot be started: {error.strerror}",
            remedy=f"[evaluate] command in release.toml names a program and its arguments, from {command.folder}",
        ) from None
    with process:
        try:
            printed, complaint = process.communicate(asked, timeout=command.seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ToolError(
                    f"{_called(command)} took longer than {command.seconds:g} seconds for one answer", remedy=_CONTRACT
                ) from None
            raise
    return process.returncode, printed, complaint


def _called(command: Command) -> str:
    return f"the scoring command {' '.join(command.words)!r}"


def _number(said: str) -> float:
    try:
        return float(said)
    except ValueError:
        return math.nan


def _tail(told: str) -> str:
    lines = [line for line in told.splitlines() if line.strip()][-_TAIL_LINES:]
    return ":\n" * bool(lines) + "\n".join(f"  {line}" for line in lines)
