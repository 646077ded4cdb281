"""Repositories, files and commits in the JSON that the client's dataclasses are made from."""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import QueryParams

from tagship.hub_server.cards import BadCard, metadata, tags
from tagship.hub_server.content import LargeFile
from tagship.hub_server.history import Commit, Entry, Ref, commits, creation_time, file_bytes, tree
from tagship.hub_server.repos import Repo

Find = Callable[[str], LargeFile | None]


def timestamp(seconds: int) -> str:
    """A Unix time as the Hub prints it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def entry_json(entry: Entry, find: Find, last: Commit | None) -> dict[str, Any]:
    """An entry of /tree and /paths-info; `last` is the commit that changed it, if that was asked for."""
    shape: dict[str, Any] = {
        "type": "directory" if entry.is_folder else "file",
        "oid": entry.oid,
        "size": entry.size,
        "path": entry.path,
    }
    if entry.pointer:
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


def commit_json(commit: Commit, author: str, *, formatted: bool) -> dict[str, Any]:
    """An entry of /commits."""
    shape: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": author}],
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
    """The model at a commit; `blobs` adds size and hash to each file."""
    entries = [entry for entry in tree(repo, commit, recursive=True) if not entry.is_folder]
    try:
        card = metadata(readme_of(repo, entries))
    except BadCard:
        card = {}
    gated = repo.setting("gated") or "false"
    return {
        "_id": repo.id,
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.namespace,
        "sha": commit,
        "lastModified": timestamp(commits(repo, commit, limit=1)[0].time),
        "createdAt": timestamp(creation_time(repo)),
        "private": repo.private,
        "gated": False if gated == "false" else gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags(card, [entry.path for entry in entries]),
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "cardData": _plain(card) or None,
        "siblings": [_sibling(entry, blobs=blobs) for entry in entries],
        "spaces": [],
        "usedStorage": sum(entry.size for entry in entries),
    }


def flag(value: str | None) -> bool:
    """Whether a parameter of a query or form is set."""
    return (value or "").lower() in ("1", "true")


def wanted_fields(query: QueryParams) -> list[str]:
    """The fields that a query names in `expand`, in either of its two spellings."""
    return query.getlist("expand") + query.getlist("expand[]")


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
