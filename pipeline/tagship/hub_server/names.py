"""What a repository, a ref and a path inside a repository may be called."""

import re
import unicodedata

from tagship.hub_server.name_rules import ref_problem, repo_name_problem
from tagship.hub_server.problem import HubProblem

# Half a surrogate pair, which JSON can hold but UTF-8 cannot.
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Of characters that HFS+ ignores, those that git knows (utf8.c).
_IGNORED_BY_HFS = re.compile(r"[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_NTFS_DOT_GIT = re.compile(r"(?:\.git|git~1)[ .]*(?::|\Z)")
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4000
# What stands before the names of repositories and in other addresses of the Hub, and so can be nobody's name.
RESERVED = frozenset(
    (
        *("api", "buckets", "collections", "datasets", "kernels", "lfs", "login", "models", "organizations"),
        *("settings", "spaces", "static", "users", "v1", "xet"),
    )
)

# Where the commits of a pull request are.
PULL_REQUEST_REF = re.compile(r"refs/pr/[1-9][0-9]{0,8}", re.ASCII)

# As for a file; git has no limit of its own, but makes a folder for every slash before it finds the path too long.
_MAX_REF_BYTES = 255


def check_repo_id(namespace: str, name: str) -> str:
    """`namespace/name`, if both parts obey the Hub's rules for names.

    1-96 characters of `[A-Za-z0-9._-]`, no `--`, no `..`, no `-` or `.` at either end, no `.git` at
    the end: so neither part can leave the folder of repositories. Raises HubProblem (400).
    """
    for part in (namespace, name):
        if repo_name_problem(part):
            raise HubProblem(400, f"Invalid repo name: {namespace}/{name} - {part!r} breaks the Hub's rules")
    return f"{namespace}/{name}"


def check_new_repo_id(namespace: str, name: str) -> None:
    """Raises HubProblem (400) for a name that would collide with addresses of the Hub, on top of `check_repo_id`."""
    if check_repo_id(namespace, name) and namespace.lower() in RESERVED:
        raise HubProblem(400, f"Invalid repo name: {namespace}/{name} - {namespace!r} is reserved")


def split_repo_id(repo_id: str) -> tuple[str, str]:
    """The two checked parts of `namespace/name`. Raises HubProblem (400)."""
    namespace, _, name = repo_id.partition("/")
    check_repo_id(namespace, name)
    return namespace, name


def is_ref_name(name: str) -> bool:
    """Whether git would take `name` as a branch or tag (git-check-ref-format), and we as a revision."""
    return (
        ref_problem(name) is None
        and not _SURROGATE.search(name)
        and not name.startswith("refs/")
        and len(name.encode()) <= _MAX_REF_BYTES
    )


def check_ref_name(name: object) -> str:
    """`name` if a branch or tag may be called so. Raises HubProblem (400)."""
    if not isinstance(name, str) or not is_ref_name(name):
        raise HubProblem(400, f"Invalid ref name: {name!r}")
    return name


def path_problem(path: str) -> str | None:
    """Why no file in a repository may be called so, None if it may.

    Relative, with `/` between non-empty parts none of which is `.`, `..` or, on any file system, `.git`;
    git would refuse most of the others, but a clone of the repository must not be a trap either.
    """
    if any(part in ("", ".", "..") or _is_dot_git(part) for part in path.split("/")):
        return "it must be relative, without ., .. and .git"
    if "\\" in path or _SURROGATE.search(path) or any(unicodedata.category(character) == "Cc" for character in path):
        return "it holds a backslash or a control character"
    if len(path) > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_NAME_BYTES for part in path.split("/")):
        return "it is longer than file systems allow"
    return None


def check_path(path: object) -> str:
    """`path` if a file in a repository may be called so (`path_problem`). Raises HubProblem (422)."""
    if not isinstance(path, str):
        raise HubProblem(422, f"Invalid path: {path!r:.80}")
    if problem := path_problem(path):
        raise HubProblem(422, f"Invalid path: {path!r:.300}: {problem}")
    return path


def _is_dot_git(name: str) -> bool:
    """Whether some file system takes this name for `.git`, as git's own is_hfs_dotgit and is_ntfs_dotgit tell.

    HFS+ ignores characters that cannot be seen; NTFS ignores dots and spaces at the end and what comes after a
    colon, and has short names.
    """
    seen = _IGNORED_BY_HFS.sub("", name).lower()
    return seen == ".git" or _NTFS_DOT_GIT.match(seen) is not None
