"""Where the policy stands: in release.toml, or in `[tool.tagship]` of a pyproject.toml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli

from tagship.system.errors import UsageError

RELEASE_FILE = "release.toml"
PROJECT_FILE = "pyproject.toml"
_TABLE = ("tool", "tagship")


class PolicyError(UsageError):
    """Mistakes in a policy; `problems` are one line each, which begins with the dotted key it is about."""

    def __init__(self, message: str, *, file: Path, problems: Sequence[str]) -> None:
        super().__init__(message)
        self.file = file
        self.problems = tuple(problems)


def policy_file(folder: Path) -> Path:
    """The file of a folder that has the policy. Raises UsageError where two have one."""
    release, project = folder / RELEASE_FILE, folder / PROJECT_FILE
    if not project.is_file() or not _has_table(project):
        return release
    if release.is_file():
        raise UsageError(
            f"{RELEASE_FILE} has a policy, and so has [{'.'.join(_TABLE)}] in {PROJECT_FILE}",
            remedy="keep one of them, or say which with --config FILE",
        )
    return project


def policy_text(path: Path) -> str:
    """The text of a file that has a policy. Raises UsageError, PolicyError."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe, which would be waited for
            raise UsageError(
                f"{path} cannot be read: it is no file", remedy="name the file of the policy with --config FILE"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"no {path.name} in {path.parent}",
            remedy="run the task in the folder that has one, or name it with --config FILE; tagship init writes one",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path.name} is not valid TOML: {error}", file=path, problems=[str(error)]) from None


def policy_table(text: str, path: Path) -> tuple[Mapping[str, Any], str]:
    """The table that is the policy in a file's text, and what it is called there. Raises PolicyError, UsageError."""
    try:
        document = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # of tomli, of numbers without an end
        told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PolicyError(f"{path.name} is not valid TOML: {told}", file=path, problems=[told]) from None
    if path.name != PROJECT_FILE:
        return document, ""
    table = policy_in(document, path)
    if not isinstance(table, dict):
        where = ".".join(_TABLE)
        raise UsageError(f"{path} has no table [{where}]", remedy=f"write the policy there, or name a {RELEASE_FILE}")
    return table, ".".join(_TABLE)


def policy_in(document: Any, path: Path) -> Any:
    """What a document has where the policy stands in a file of this name: a table, or else something malformed."""
    for key in _TABLE if path.name == PROJECT_FILE else ():
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _has_table(project: Path) -> bool:
    """Whether a pyproject.toml has the table, or something in its place. One that cannot be read is ours to tell of
    only where it seems to have it."""
    try:
        text = project.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    try:
        return policy_in(tomli.loads(text), project) is not None
    except (ValueError, RecursionError):
        return f"[{'.'.join(_TABLE)}" in text
