"""The child's side of a worker: a process that answers requests until its standard input ends.

Its argument is the name of the runtime. A request is a line with two paths: what is asked of which model is read from
the first, the answers are written to the second, and a line says so.
"""

import json
import os
import pickle
import sys
from pathlib import Path

from tagship.verify.questions import write_answers
from tagship.verify.runtimes.protocol import Runtime
from tagship.verify.runtimes.registry import find_runtime


def serve(runtime: Runtime) -> None:
    """Answer requests one after the other. What the runtime raises ends the process."""
    # Libraries print to standard output as they like; the parent reads from there.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked, answered = map(Path, json.loads(line))
        subject, questions = pickle.loads(asked.read_bytes())
        write_answers(answered, runtime.answer(subject, questions))
        print("answered", file=channel)


if __name__ == "__main__":
    serve(find_runtime(sys.argv[1]))
