"""The names of a release, and the rules that the places they go to have for them."""

import re
from collections.abc import Mapping

from pipeline.naming.pattern import FieldValue, Pattern, PatternError

SHORT_NAME_LENGTH = 10
REPO_NAME_LENGTH = 96


def short_base_name(base_id: str, given: Mapping[str, str]) -> str:
    """What `{base}` is for a base model: the policy's word, else the repo's name, cut.

    Cut means lower case, without hyphens, at 10 characters: `microsoft/Phi-3-mini-4k-instruct`
    becomes `phi3mini4k`.
    """
    if base_id in given:
        return given[base_id]
    return base_id.rsplit("/", 1)[-1].lower().replace("-", "")[:SHORT_NAME_LENGTH]


def make_name(pattern: Pattern, values: Mapping[str, FieldValue | None], what: str) -> str:
    """Format a name. Raises PatternError that says which name could not be made."""
    try:
        return pattern.format(values)
    except PatternError as error:
        raise PatternError(f"no name for the {what} by {pattern.text!r}: {error}") from None


def repo_name_problem(name: str) -> str | None:
    """The Hub's rule that a repo name breaks, or None (huggingface_hub, validate_repo_id; ASCII only)."""
    rules = (
        (not name, "must not be empty"),
        (len(name) > REPO_NAME_LENGTH, f"has {len(name)} characters; the Hub allows {REPO_NAME_LENGTH}"),
        (re.search(r"[^A-Za-z0-9._-]", name), "may only have letters, digits, '.', '_' and '-'"),
        ("--" in name or ".." in name, "must not have '--' or '..'"),
        (name[:1] in "-." or name[-1:] in "-.", "must not start or end with '-' or '.'"),
        (name.endswith(".git"), "must not end with '.git'"),
    )
    return next((rule for broken, rule in rules if broken), None)


def nearest_repo_name(name: str) -> str:
    """The valid repo name that is nearest to `name`."""
    near = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:REPO_NAME_LENGTH]
    near = re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", near)).lstrip("-.")
    return re.sub(r"(\.git|[-.])+\Z", "", near) or "model"
