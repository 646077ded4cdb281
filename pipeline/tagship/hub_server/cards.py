"""The metadata at the top of a README.md, read and checked as the Hub does."""

import re
from typing import Any

from tagship.hub_server.bounded import OutOfBounds, parse_yaml
from tagship.hub_server.card_rules import problems

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class BadCard(Exception):
    """The front matter is not what the Hub accepts; the message says what it objects to."""


def metadata(readme: str) -> dict[str, Any]:
    """The front matter of a card, empty if there is none. Raises BadCard if it is no YAML mapping."""
    match = _FRONT_MATTER.match(readme)
    if not match:
        return {}
    try:
        data = parse_yaml(match[1])
    except OutOfBounds as error:
        raise BadCard(f"YAML metadata error: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadCard("YAML metadata error: the metadata must be a mapping")
    return {str(key): value for key, value in data.items()}


def check(readme: str) -> list[str]:
    """The warnings for a card that the Hub would take. Raises BadCard for one that it would not."""
    data = metadata(readme)
    if problem := next(problems(data), None):
        raise BadCard(problem)
    return [] if data else ["empty or missing yaml metadata in repo card"]


def tags(data: dict[str, Any], paths: list[str]) -> list[str]:
    """The tags that the Hub shows for a model with this metadata and these files."""
    found = [str(data["library_name"])] if data.get("library_name") else []
    for suffix in ("safetensors", "gguf"):
        if any(path.endswith(f".{suffix}") for path in paths):
            found.append(suffix)
    found += _strings(data.get("tags"))
    found += _strings(data.get("language"))
    found += [f"base_model:{model}" for model in _strings(data.get("base_model"))]
    if relation := data.get("base_model_relation"):
        found += [f"base_model:{relation}:{model}" for model in _strings(data.get("base_model"))]
    found += [f"dataset:{dataset}" for dataset in _strings(data.get("datasets"))]
    found += [f"license:{name}" for name in _strings(data.get("license"))]
    return list(dict.fromkeys(found))


def _strings(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [] if value is None else [str(value)]
