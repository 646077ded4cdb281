"""What lists say of each repository, kept beside it, so that a list asks git only about what has changed.

A summary is `model_json` of the default branch. It is taken again once the branch, the name, a setting, or this
program is another one.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tagship.hub_server.blobs import fresh_file
from tagship.hub_server.git import GitFailed
from tagship.hub_server.history import resolve
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.shapes import model_json

_FILE = "tagship-summary.json"
_OID = re.compile(rb"[0-9a-f]{40}\n")


def summary(repo: Repo, *, scratch: Path) -> dict[str, Any]:
    """`model_json` of the repository's default branch. Raises GitFailed, HubProblem as that does."""
    commit = _head(repo)
    state = f"{_program()} {repo.id} {commit} {_settings_state(repo)}\n".encode()
    path = repo.git.git_dir / _FILE
    with suppress(FileNotFoundError, ValueError):
        kept, _, shape = path.read_bytes().partition(b"\n")
        if kept + b"\n" == state:
            return json.loads(shape)
    found = model_json(repo, commit, blobs=False)
    # It is only a help: where it cannot be written, on a full disk or as the repository has just gone, lists are slow.
    with suppress(OSError), fresh_file(scratch) as fresh:
        fresh.write_bytes(state + json.dumps(found).encode())
        os.replace(fresh, path)
    return found


def refresh(repo: Repo, *, scratch: Path) -> None:
    """Take the summary after a change, so that the next list need not."""
    # The change is made: whoever moved or deleted the repository since then takes nothing from it.
    with suppress(GitFailed, HubProblem):
        summary(repo, scratch=scratch)


def _head(repo: Repo) -> str:
    """The commit of the default branch, from the file that usually has it, or else by git."""
    with suppress(FileNotFoundError):
        text = (repo.git.git_dir / "refs/heads" / DEFAULT_BRANCH).read_bytes()
        if _OID.fullmatch(text):
            return text.decode().strip()
    return resolve(repo, DEFAULT_BRANCH)


def _settings_state(repo: Repo) -> str:
    """Another text whenever a setting has been changed: git writes the file anew."""
    with suppress(FileNotFoundError):
        status = (repo.git.git_dir / "config").stat()
        return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_size}"
    return ""


@cache
def _program() -> str:
    """What this package is, so that another version of it takes summaries anew."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
