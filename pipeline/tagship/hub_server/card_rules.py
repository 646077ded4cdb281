"""What the Hub takes in the metadata of a model card, in its own words but for long lists: errors, and warnings.

Sources: https://huggingface.co/docs/hub/model-cards and https://github.com/huggingface/hub-docs (modelcard.md). The
Hub's own check is a request (`/api/validate-yaml`), which nobody can make before they are online.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from tagship.hub_server.card_lists import LICENSES, OTHER, TASKS, is_language

__all__ = ["LICENSES", "LICENSE_FILES", "OTHER", "RELATIONS", "problems", "warnings"]

RELATIONS = ("adapter", "merge", "quantized", "finetune")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
# The Hub has a page for what it has some seventy identifiers of.
_LICENSES_PAGE = "https://huggingface.co/docs/hub/repositories-licenses"
_LICENSE_NAME = re.compile(r"[a-z0-9.-]+")
_URL = re.compile(r"""https?://[^\s()<>|"'`\\]+""")
# Of a repository's own files those that the Hub takes for the text of its license.
LICENSE_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt")

Problems = Iterator[str]


def problems(data: Mapping[str, Any]) -> Problems:
    """What the Hub refuses in a card's metadata: the field, its value, what is allowed."""
    for field, check in _CHECKS.items():
        if data.get(field) is not None:
            yield from check(field, data[field])
    if data.get("license") == OTHER:
        yield from _other_license(data)


def warnings(data: Mapping[str, Any]) -> Problems:
    """What the Hub takes, and says something about."""
    if not data:
        yield "empty or missing yaml metadata in repo card"
    task = data.get("pipeline_tag")
    if isinstance(task, str) and task not in TASKS:
        yield f'The pipeline tag "{task}" is not in the official list: {", ".join(TASKS)}'


def _items(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is to be checked, and how the Hub calls it: a list's items by their number."""
    if isinstance(value, list):
        yield from ((f"{field}[{number}]", item) for number, item in enumerate(value))
    else:
        yield field, value


def _other_license(data: Mapping[str, Any]) -> Problems:
    """A license that is not on the list is told by a name and by its text: a file of the repository, or a page."""
    name, link = data.get("license_name"), data.get("license_link")
    if not (isinstance(name, str) and _LICENSE_NAME.fullmatch(name)):
        yield f'"license_name" must be given for the license "other", in lower case, digits, - and ., and is {name!r}'
    if not (isinstance(link, str) and (link in LICENSE_FILES or _URL.fullmatch(link))):
        yield f'"license_link" must be LICENSE, LICENSE.md or a URL for the license "other", and is {link!r}'


def _licenses(field: str, value: Any) -> Problems:
    for name, item in _items(field, value):
        if not (isinstance(item, str) and item in LICENSES):
            yield f'"{name}" must be one of the licenses of {_LICENSES_PAGE}, and is {item!r:.80}'


def _languages(field: str, value: Any) -> Problems:
    for name, item in _items(field, value):
        if isinstance(item, str) and item != item.lower():
            yield f'"{name}" must only contain lowercase characters'
        elif not (isinstance(item, str) and is_language(item)):
            yield (
                f'"{name}" with value {item!r:.80} is not valid. It must be an ISO 639-1, 639-2 or 639-3 code '
                '(two/three letters), or a special value like "code", "multilingual". If you want to use BCP-47 '
                "identifiers, you can specify them in language_bcp47."
            )


def _ids(field: str, value: Any) -> Problems:
    for name, item in _items(field, value):
        if not (isinstance(item, str) and _ID.fullmatch(item)):
            yield f'"{name}" with value {item!r:.80} is not valid. It must be an id on the Hub'


def _texts(field: str, value: Any) -> Problems:
    """One text, or a list of them."""
    for name, item in _items(field, value):
        if not isinstance(item, str):
            yield f'"{name}" must be a string, and is {item!r:.80}'


def _list_of_texts(field: str, value: Any) -> Problems:
    if not isinstance(value, list):
        yield f'"{field}" must be an array, and is {value!r:.80}'
    else:
        yield from _texts(field, value)


def _text(field: str, value: Any) -> Problems:
    # YAML reads a version such as 1.0 as a number, and the Hub shows what it reads.
    if not isinstance(value, str | int | float | date) or isinstance(value, bool):
        yield f'"{field}" must be a string, and is {value!r:.80}'


def _relation(field: str, value: Any) -> Problems:
    if value not in RELATIONS:
        yield f'"{field}" must be one of [{", ".join(RELATIONS)}], and is {value!r:.80}'


def _model_index(field: str, value: Any) -> Problems:
    """Scores: of each model its name and results, of each result a task, a data set and metrics."""
    if not isinstance(value, list):
        yield f'"{field}" must be an array'
        return
    for name, model in _items(field, value):
        yield from _required(name, model, ("name", "results"))
        results = model.get("results") if isinstance(model, dict) else None
        for place, result in _items(f"{name}.results", results if isinstance(results, list) else []):
            yield from _result(place, result)


def _result(name: str, result: Any) -> Problems:
    yield from _required(name, result, ("task", "metrics"))
    if not isinstance(result, dict):
        return
    if "task" in result:
        yield from _required(f"{name}.task", result["task"], ("type",))
    if "dataset" in result:
        yield from _required(f"{name}.dataset", result["dataset"], ("type", "name"))
    metrics = result.get("metrics")
    for place, metric in _items(f"{name}.metrics", metrics if isinstance(metrics, list) else []):
        yield from _required(place, metric, ("type", "value"))


def _required(name: str, value: Any, keys: tuple[str, ...]) -> Problems:
    if not isinstance(value, dict):
        yield f'"{name}" must be of type object'
        return
    for key in keys:
        if value.get(key) is None:
            yield f'"{name}.{key}" is required'
    for key in ("results", "metrics"):
        if key in keys and value.get(key) is not None and not isinstance(value[key], list):
            yield f'"{name}.{key}" must be an array'


_CHECKS: Mapping[str, Callable[[str, Any], Problems]] = {
    "base_model": _ids,
    "base_model_relation": _relation,
    "datasets": _ids,
    "language": _languages,
    "library_name": _text,
    "license": _licenses,
    "metrics": _texts,
    "model-index": _model_index,
    "model_name": _text,
    "new_version": _ids,
    "pipeline_tag": _text,
    "tags": _list_of_texts,
}
