"""The rules that places have for names: the Hub's, git's, and a file system's.

A version with build metadata, `1.2.3+cu124`, stays as it is where `+` is allowed (git tags, files,
the version inside cards and GGUF). A repo's name has `_` in its place, as Helm does for OCI tags:
`_` is in no SemVer version, so that the version can be read back.
"""

import re
from collections.abc import Callable

from msgspec import Struct

from tagship.hub_server.name_rules import REPO_NAME_LENGTH, first_broken, ref_problem, repo_name_problem

PLUS_IN_REPO_NAMES = "_"


class NameRules(Struct, frozen=True, kw_only=True):
    """The rules of a place that names go to: `problem` gives the rule that a name breaks, or None; `nearest` the
    valid name that is nearest to one."""

    name: str
    problem: Callable[[str], str | None]
    nearest: Callable[[str], str]

    def complaint(self, name: str, what: str) -> str | None:
        """What is wrong with a name, with the nearest valid one, or None."""
        broken = self.problem(name)
        return broken and f"{self.name} would refuse the {what} {name!r}: it {broken}"


_FILE_LENGTH = 255


def _nearest_repo(name: str) -> str:
    near = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("+", PLUS_IN_REPO_NAMES))[:REPO_NAME_LENGTH]
    near = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", near)).lstrip("-.")
    return re.sub(r"(\.git|[-.])+\Z", "", near) or "model"


def _nearest_git(name: str) -> str:
    near = re.sub(r"[\x00-\x20\x7f~^:?*\[\\]|@\{", "-", name)
    near = re.sub(r"\.{2,}", ".", near)
    parts = [re.sub(r"(\.lock)+\Z", "", part.lstrip(".")) for part in near.split("/")]
    near = re.sub(r"(\.lock|\.)+\Z", "", "/".join(filter(None, parts)).lstrip("-./"))
    return "v1.0.0" if near in ("", "@") else near


def _file_problem(name: str) -> str | None:
    size = len(name.encode())
    return first_broken(
        (not name, "must not be empty"),
        (size > _FILE_LENGTH, f"has {size} bytes; file systems allow {_FILE_LENGTH}"),
        ("/" in name or "\0" in name, "must not have '/'"),
        (name[:1] in ".-", "must not begin with '.' or '-'"),
    )


def _nearest_file(name: str) -> str:
    near = re.sub(r"[/\0]", "-", name).lstrip(".-")
    return near.encode()[:_FILE_LENGTH].decode(errors="ignore") or "model"


HUB = NameRules(name="the Hub", problem=repo_name_problem, nearest=_nearest_repo)
GIT = NameRules(name="git", problem=ref_problem, nearest=_nearest_git)
FILES = NameRules(name="the file system", problem=_file_problem, nearest=_nearest_file)
