"""Repositories, files and commits in the JSON that the client's dataclasses are made from."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from starlette.datastructures import QueryParams

from tagship.hub_server.cards import BadCard, dataset_tags, metadata, tags
from tagship.hub_server.content import LargeFile
from tagship.hub_server.git import IDENTITY
from tagship.hub_server.history import Commit, Entry, Ref, commits, creation_time, file_bytes, tree
from tagship.hub_server.kinds import Kind
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo
from tagship.hub_server.times import timestamp

_CONFIG_BYTES = 1_000_000
_CONFIG_KEYS = ("architectures", "model_type", "quantization_config", "auto_map")

_OF_BOTH = (
    *("author", "cardData", "createdAt", "disabled", "downloads", "downloadsAllTime", "gated", "lastModified", "likes"),
    *("private", "resourceGroup", "sha", "siblings", "tags", "trendingScore", "usedStorage"),
)
# What huggingface.co lets one ask for by `expand`.
EXPANDABLE = {
    Kind.MODEL: (
        *_OF_BOTH,
        *("baseModels", "childrenModelCount", "config", "evalResults", "gguf", "inference", "inferenceProviderMapping"),
        *("library_name", "mask_token", "model-index", "pipeline_tag", "safetensors", "spaces", "transformersInfo"),
        "widgetData",
    ),
    Kind.DATASET: (*_OF_BOTH, "citation", "description", "mainSize", "paperswithcode_id"),
}

Find = Callable[[str], LargeFile | None]


def entry_json(entry: Entry, find: Find, last: Commit | None, *, hidden: bool) -> dict[str, Any]:
    """An entry of /tree and /paths-info; `last` is the commit that changed it, if that was asked for.

    `hidden` leaves out by what the bytes of a large file are found.
    """
    shape: dict[str, Any] = {
        "type": "directory" if entry.is_folder else "file",
        "oid": entry.oid,
        "size": entry.size,
        "path": entry.path,
    }
    if entry.pointer and not hidden:
        shape["lfs"] = {
            "oid": entry.pointer.sha256,
            "size": entry.pointer.size,
            "pointerSize": entry.stored_size,
        }
        file = find(entry.pointer.sha256)
        if file and file.xet_hash:
            shape["xetHash"] = file.xet_hash
    if last:
        shape["lastCommit"] = {"id": last.oid, "title": last.title, "date": timestamp(last.time)}
    return shape


def commit_json(commit: Commit, owner: str, *, formatted: bool) -> dict[str, Any]:
    """An entry of /commits; what the Hub itself made is the owner's."""
    shape: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": owner if commit.author == IDENTITY else commit.author}],
        "date": timestamp(commit.time),
    }
    if formatted:
        shape["formatted"] = {"title": commit.title, "message": commit.message}
    return shape


def ref_json(ref: Ref) -> dict[str, str]:
    """An entry of /refs."""
    return {"name": ref.name, "ref": ref.ref, "targetCommit": ref.commit}


def readme_of(repo: Repo, entries: list[Entry]) -> str:
    """The text of the README.md among these entries, empty if there is none."""
    found = [entry for entry in entries if entry.path == "README.md" and not entry.is_folder]
    return file_bytes(repo, found[0]).decode(errors="replace") if found else ""


def model_json(repo: Repo, commit: str, *, blobs: bool) -> dict[str, Any]:
    """The model or dataset at a commit; `blobs` adds size and hash to each file."""
    entries = [entry for entry in tree(repo, commit, recursive=True) if not entry.is_folder]
    try:
        card = metadata(readme_of(repo, entries))
    except BadCard:
        card = {}
    shape = {
        "_id": repo.id,
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit,
        "lastModified": timestamp(commits(repo, commit, limit=1)[0].time),
        "createdAt": timestamp(creation_time(repo)),
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": 0,
        "trendingScore": 0,
        "tags": tags(card, [entry.path for entry in entries]) if repo.kind is Kind.MODEL else dataset_tags(card),
        "cardData": _plain(card) or None,
        "siblings": [_sibling(entry, blobs=blobs) for entry in entries],
        "usedStorage": sum(entry.size for entry in entries),
    }
    return shape | (_of_model(repo, card, entries) if repo.kind is Kind.MODEL else _of_dataset(card))


def _of_model(repo: Repo, card: dict[str, Any], entries: list[Entry]) -> dict[str, Any]:
    """What there is to say of models only."""
    return {
        "modelId": repo.id,
        "library_name": _plain(card.get("library_name")),
        "pipeline_tag": _plain(card.get("pipeline_tag")),
        "model-index": _plain(card.get("model-index")),
        "widgetData": _plain(card.get("widget")),
        "baseModels": _base_models(card),
        "config": _config(repo, entries),
        "spaces": [],
    }


def _of_dataset(card: dict[str, Any]) -> dict[str, Any]:
    return {"description": _plain(card.get("pretty_name")), "paperswithcode_id": _plain(card.get("paperswithcode_id"))}


def _base_models(card: dict[str, Any]) -> dict[str, Any] | None:
    found = card.get("base_model")
    models = [name for name in (found if isinstance(found, list) else [found]) if isinstance(name, str)]
    relation = card.get("base_model_relation")
    return {"relation": _plain(relation), "models": [{"id": name} for name in models]} if models else None


def _config(repo: Repo, entries: list[Entry]) -> dict[str, Any] | None:
    """What the Hub shows of a config.json: which architecture it is of."""
    found = [entry for entry in entries if entry.path == "config.json" and not entry.pointer]
    if not found or found[0].size > _CONFIG_BYTES:
        return None
    try:
        data = json.loads(file_bytes(repo, found[0]))
    except (ValueError, RecursionError):
        return None
    return {key: data[key] for key in _CONFIG_KEYS if key in data} if isinstance(data, dict) else None


def flag(value: str | None) -> bool:
    """Whether a parameter of a query or form is set."""
    return (value or "").lower() in ("1", "true")


def wanted_fields(query: QueryParams, kind: Kind) -> list[str]:
    """The fields that a query names in `expand`, in either of its two spellings. Raises HubProblem (400)."""
    fields = query.getlist("expand") + query.getlist("expand[]")
    known = EXPANDABLE[kind]
    for position, field in enumerate(fields):
        if field not in known:
            choices = "|".join(f'"{name}"' for name in known)
            raise HubProblem(400, f"✖ Invalid option: expected one of {choices}\n  → at expand[{position}]")
    return fields


def only(shape: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Of a model, its name and these fields; as on the Hub, what there is nothing to say about is left out."""
    kept = {"_id", "id", "modelId", *fields}
    return {key: value for key, value in shape.items() if key in kept and value is not None}


def _sibling(entry: Entry, *, blobs: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        shape |= {"size": entry.size, "blobId": entry.oid}
        if entry.pointer:
            shape["lfs"] = {
                "sha256": entry.pointer.sha256,
                "size": entry.pointer.size,
                "pointerSize": entry.stored_size,
            }
    return shape


def _plain(value: Any) -> Any:
    """YAML knows dates and other keys than strings, JSON does not."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
