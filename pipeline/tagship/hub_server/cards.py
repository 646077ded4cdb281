"""The metadata at the top of a README.md, read and checked as the Hub does."""

import re
from typing import Any

from tagship.hub_server.bounded import OutOfBounds, parse_yaml
from tagship.hub_server.card_rules import problems, warnings

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


# What files say of the libraries that read them.
_BY_SUFFIX = {".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx", ".msgpack": "jax", ".h5": "tf"}
_BY_NAME = {"pytorch_model": "pytorch", "tfevents": "tensorboard"}
_DATASET_FIELDS = (
    *("benchmark", "task_categories", "task_ids", "annotations_creators", "language_creators", "multilinguality"),
    *("source_datasets", "language", "license", "size_categories"),
)


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


def body_of(readme: str) -> str:
    """What follows the front matter."""
    match = _FRONT_MATTER.match(readme)
    return readme[match.end() :] if match else readme


def check(readme: str) -> list[str]:
    """The warnings for a card that the Hub would take. Raises BadCard for one that it would not."""
    data = metadata(readme)
    if problem := next(problems(data), None):
        raise BadCard(problem)
    return list(warnings(data))


def tags(data: dict[str, Any], paths: list[str]) -> list[str]:
    """The tags that the Hub shows for a model with this metadata and these files."""
    found = [str(data["library_name"])] if data.get("library_name") else []
    found += [tag for suffix, tag in _BY_SUFFIX.items() if any(path.endswith(suffix) for path in paths)]
    found += [tag for name, tag in _BY_NAME.items() if any(name in path.rpartition("/")[2] for path in paths)]
    found += _strings(data.get("tags"))
    found += _strings(data.get("language"))
    found += ["model-index"] if data.get("model-index") else []
    found += [f"base_model:{model}" for model in _strings(data.get("base_model"))]
    if relation := data.get("base_model_relation"):
        found += [f"base_model:{relation}:{model}" for model in _strings(data.get("base_model"))]
    found += [f"dataset:{dataset}" for dataset in _strings(data.get("datasets"))]
    found += [f"license:{name}" for name in _strings(data.get("license"))]
    return list(dict.fromkeys(found))


def dataset_tags(data: dict[str, Any]) -> list[str]:
    """The tags of a dataset, which name the field that each is from."""
    found = [f"{field}:{value}" for field in _DATASET_FIELDS for value in _strings(data.get(field))]
    return list(dict.fromkeys(found + _strings(data.get("tags"))))


def _strings(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [] if value is None else [str(value)]
