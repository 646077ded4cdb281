"""The rules that places have for names: the Hub's, Ollama's, git's, and a file system's.

A version with build metadata, `1.2.3+cu124`, stays as it is where `+` is allowed (git tags, files,
the version inside cards and GGUF). A repo's name has `_` in its place, as Helm does for OCI tags:
`_` is in no SemVer version, so that the version can be read back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

PLUS_IN_REPO_NAMES = "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somewhere that names go: `problem` gives the rule that a name breaks, or None; `nearest` the
    valid name that is nearest to one."""

    name: str
    problem: Callable[[str], str | None]
    nearest: Callable[[str], str]

    def complaint(self, name: str, what: str) -> str | None:
        """What is wrong with a name, with the nearest valid one, or None."""
        broken = self.problem(name)
        return broken and f"{self.name} would refuse the {what} {name!r}: it {broken}"


_REPO_LENGTH = 96
_OLLAMA_LENGTH = 80
_FILE_LENGTH = 255


def _repo_problem(name: str) -> str | None:
    """huggingface_hub, validate_repo_id; ASCII only."""
    return _first(
        (not name, "must not be empty"),
        (len(name) > _REPO_LENGTH, f"has {len(name)} characters; the Hub allows {_REPO_LENGTH}"),
        (re.search(r"[^A-Za-z0-9._-]", name), "may only have letters, digits, '.', '_' and '-'"),
        ("--" in name or ".." in name, "must not have '--' or '..'"),
        (name[:1] in "-." or name[-1:] in "-.", "must not start or end with '-' or '.'"),
        (name.endswith(".git"), "must not end with '.git'"),
    )


def _nearest_repo(name: str) -> str:
    near = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("+", PLUS_IN_REPO_NAMES))[:_REPO_LENGTH]
    near = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", near)).lstrip("-.")
    return re.sub(r"(\.git|[-.])+\Z", "", near) or "model"


def _ollama_problem(name: str) -> str | None:
    """ollama, types/model/name.go, isValidPart."""
    return _first(
        (not name, "must not be empty"),
        (len(name) > _OLLAMA_LENGTH, f"has {len(name)} characters; Ollama allows {_OLLAMA_LENGTH}"),
        (re.search(r"[^A-Za-z0-9._-]", name), "may only have letters, digits, '.', '_' and '-'"),
        (not re.match(r"[A-Za-z0-9_]", name), "must start with a letter, a digit or '_'"),
    )


def _nearest_ollama(name: str) -> str:
    near = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("+", PLUS_IN_REPO_NAMES))
    return near.lstrip("-.")[:_OLLAMA_LENGTH] or "model"


def _git_problem(name: str) -> str | None:
    """git check-ref-format, and git tag, which takes no name that begins with a hyphen."""
    parts = name.split("/")
    return _first(
        (not name or "" in parts, "must not be empty, nor begin or end with '/', nor have '//'"),
        (name == "@" or name[:1] == "-", "must not be '@' or begin with '-'"),
        (re.search(r"[\x00-\x20\x7f~^:?*\[\\]", name), "must not have spaces, control characters or any of ~^:?*[\\"),
        (".." in name or "@{" in name, "must not have '..' or '@{'"),
        (any(part.startswith(".") for part in parts), "must not begin with '.', nor a part after '/'"),
        (any(part.endswith(".lock") for part in parts) or name.endswith("."), "must not end with '.lock' or '.'"),
    )


def _nearest_git(name: str) -> str:
    near = re.sub(r"[\x00-\x20\x7f~^:?*\[\\]|@\{", "-", name)
    near = re.sub(r"\.{2,}", ".", near)
    parts = [re.sub(r"(\.lock)+\Z", "", part.lstrip(".")) for part in near.split("/")]
    near = re.sub(r"(\.lock|\.)+\Z", "", "/".join(filter(None, parts)).lstrip("-./"))
    return "v1.0.0" if near in ("", "@") else near


def _file_problem(name: str) -> str | None:
    size = len(name.encode())
    return _first(
        (not name, "must not be empty"),
        (size > _FILE_LENGTH, f"has {size} bytes; file systems allow {_FILE_LENGTH}"),
        ("/" in name or "\0" in name, "must not have '/'"),
        (name[:1] in ".-", "must not begin with '.' or '-'"),
    )


def _nearest_file(name: str) -> str:
    near = re.sub(r"[/\0]", "-", name).lstrip(".-")
    return near.encode()[:_FILE_LENGTH].decode(errors="ignore") or "model"


def _first(*rules: tuple[object, str]) -> str | None:
    return next((rule for broken, rule in rules if broken), None)


HUB = Place(name="the Hub", problem=_repo_problem, nearest=_nearest_repo)
OLLAMA = Place(name="Ollama", problem=_ollama_problem, nearest=_nearest_ollama)
GIT = Place(name="git", problem=_git_problem, nearest=_nearest_git)
FILES = Place(name="the file system", problem=_file_problem, nearest=_nearest_file)
