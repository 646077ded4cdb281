"""The rules that the Hub has for names of repositories, and git for those of branches and tags."""

import re

REPO_NAME_LENGTH = 96


def repo_name_problem(name: str) -> str | None:
    """The rule that a namespace, or a repository's name without it, breaks, or None.

    As huggingface_hub's validate_repo_id, but ASCII only.
    """
    return first_broken(
        (not name, "must not be empty"),
        (len(name) > REPO_NAME_LENGTH, f"has {len(name)} characters; the Hub allows {REPO_NAME_LENGTH}"),
        (re.search(r"[^A-Za-z0-9._-]", name), "may only have letters, digits, '.', '_' and '-'"),
        ("--" in name or ".." in name, "must not have '--' or '..'"),
        (name[:1] in "-." or name[-1:] in "-.", "must not start or end with '-' or '.'"),
        (name.endswith(".git"), "must not end with '.git'"),
    )


def ref_problem(name: str) -> str | None:
    """The rule that the name of a branch or tag breaks, or None: git check-ref-format, and git tag, which takes no name
    that begins with a hyphen."""
    parts = name.split("/")
    return first_broken(
        (not name or "" in parts, "must not be empty, nor begin or end with '/', nor have '//'"),
        (name == "@" or name[:1] == "-", "must not be '@' or begin with '-'"),
        (re.search(r"[\x00-\x20\x7f~^:?*\[\\]", name), "must not have spaces, control characters or any of ~^:?*[\\"),
        (".." in name or "@{" in name, "must not have '..' or '@{'"),
        (any(part.startswith(".") for part in parts), "must not begin with '.', nor a part after '/'"),
        (any(part.endswith(".lock") for part in parts) or name.endswith("."), "must not end with '.lock' or '.'"),
    )


def first_broken(*rules: tuple[object, str]) -> str | None:
    """The text of the first rule that is broken, if one is."""
    return next((rule for broken, rule in rules if broken), None)
