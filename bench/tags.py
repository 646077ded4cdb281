"""`invoke tags --json` against `git for-each-ref` over the same tags with the same fields."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import best, python, table

_TAGS = 100_000
_RUNS = 3
_FIELDS = "%00".join(
    (
        "%(refname:strip=2)",
        "%(objecttype)",
        "%(objectname)",
        "%(*objectname)",
        "%(creatordate:iso-strict)",
        "%(contents:subject)",
    )
)
_POLICY = '[project]\nnamespace = "acme"\n[formats.lora]\n'


def main() -> None:
    """Print the table."""
    repository = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(repository / "tasks.py", folder)
        Path(folder, "release.toml").write_text(_POLICY, encoding="utf-8")
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
        stream = "".join(_stream(_TAGS)).encode()
        subprocess.run(["git", "-C", folder, "fast-import", "--quiet"], input=stream, check=True)
        subprocess.run(["git", "-C", folder, "pack-refs", "--all"], check=True)
        listing = python("invoke", "tags", "--json")
        git = ["git", "for-each-ref", f"--format={_FIELDS}", "refs/tags"]
        best(listing, 1, cwd=folder)  # unmeasured, so that both find the files in memory
        ours = best(listing, _RUNS, cwd=folder)
        theirs = best(git, _RUNS, cwd=folder)
    table(
        f"{_TAGS:,} annotated tags, best of {_RUNS}", [("`invoke tags --json`", ours), ("`git for-each-ref`", theirs)]
    )
    print(f"\nours / git: {ours.seconds / theirs.seconds:.2f}")


def _stream(number: int) -> Iterator[str]:
    """A commit and its tags, as `git fast-import` reads them."""
    person = "A. Tester <tester@example.com>"
    yield f"commit refs/heads/main\ncommitter {person} 1700000000 +0000\ndata 5\nfirst\n\n"
    for count in range(number):
        version = f"v{count // 10_000}.{count // 100 % 100}.{count % 100}"
        message = f"Release {version}: what is new\n\nMore of it.\n"
        when = 1_700_000_000 + count
        yield f"tag {version}\nfrom refs/heads/main\ntagger {person} {when} +0000\ndata {len(message)}\n{message}\n"


if __name__ == "__main__":
    main()
