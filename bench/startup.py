"""`invoke --list` here against `invoke --list` on a file with one empty task."""

import tempfile
from pathlib import Path

from bench.measure import best, python, table

_RUNS = 15


def main() -> None:
    """Print the table."""
    repository = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text("from invoke import task\n\n\n@task\ndef empty(context):\n    pass\n")
        command = python("invoke", "--list")
        # One unmeasured run each, so that both find their bytecode written.
        best(command, 1, cwd=str(repository))
        best(command, 1, cwd=folder)
        ours = best(command, _RUNS, cwd=str(repository))
        empty = best(command, _RUNS, cwd=folder)
    table(f"`invoke --list`, best of {_RUNS}", [("tagship", ours), ("one empty task", empty)])
    print(f"\nours / empty: {ours.seconds / empty.seconds:.2f}")


if __name__ == "__main__":
    main()
