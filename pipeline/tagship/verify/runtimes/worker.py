"""The child's side of a worker: a process that answers requests until its standard input ends.

A request is a line with two paths: the questions are read from the first, the answers are written
to the second, and a line says so.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tagship.verify.questions import Answers, write_answers


def serve(answer: Callable[[dict[str, Any]], Answers]) -> None:
    """Answer requests one after the other. What `answer` raises ends the process."""
    # Libraries print to standard output as they like; the parent reads from there.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked, answered = json.loads(line)
        write_answers(Path(answered), answer(json.loads(Path(asked).read_text(encoding="utf-8"))))
        print("answered", file=channel)
