"""The child's side of a worker: a process that answers requests until its standard input ends.

Its argument is the name of the runtime. A request is a line with two paths: what is asked of which model is read from
the first (nothing is asked where it is only to be examined), the answers are written to the second, and a line says so,
or why the model is refused. Prompts, which are asked for by conversations, stand in that line.
"""

import json
import os
import pickle
import sys
from pathlib import Path

from tagship.system.errors import ReleaseError
from tagship.verify.questions import Questions, write_answers
from tagship.verify.runtimes.protocol import Runtime
from tagship.verify.runtimes.registry import find_runtime


def serve(runtime: Runtime) -> None:
    """Answer requests one after the other. What the runtime raises ends the process."""
    # Libraries print to standard output as they like; the parent reads from there.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked, answered = map(Path, json.loads(line))
        subject, question = pickle.loads(asked.read_bytes())
        said: dict[str, object] = {}
        try:
            if question is None:
                runtime.examine(subject)
            elif isinstance(question, Questions):
                write_answers(answered, runtime.answer(subject, question))
            else:
                said = {"prompts": runtime.prompts(subject, question)}
        except ReleaseError as error:
            said = {"refused": str(error), "remedy": error.remedy}
        print(json.dumps(said), file=channel)


if __name__ == "__main__":
    serve(find_runtime(sys.argv[1]))
