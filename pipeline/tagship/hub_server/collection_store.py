"""Collections of models, datasets and other collections: one JSON document for the whole Hub."""

import re
import secrets
import unicodedata
from typing import Any

from tagship.hub_server.problem import HubProblem
from tagship.hub_server.times import now

Collection = dict[str, Any]
"""As it is kept: `id`, `owner`, `title`, `description`, `private`, `theme`, `items`, `lastUpdated`."""

_LONGEST_TITLE = 60
_LONGEST_DESCRIPTION = 150
_LONGEST_NOTE = 500
_MOST_ITEMS = 1000
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
ITEM_TYPES = ("model", "dataset", "collection")


def slug(collection: Collection) -> str:
    """`owner/title-in-words-id`: what it is called, which changes with the title; the id at its end does not."""
    plain = unicodedata.normalize("NFKD", collection["title"]).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return f"{collection['owner']}/{f'{words}-' if words else ''}{collection['id']}"


def find(kept: dict[str, Any], name: str) -> Collection:
    """The collection that a slug ends with the id of. Raises HubProblem (404)."""
    owner, _, rest = name.partition("/")
    found = kept.get(rest.rpartition("-")[2])
    if found is None or found["owner"] != owner:
        raise HubProblem(404, f"Collection {name!r} not found")
    assert isinstance(found, dict)
    return found


def new(owner: str, data: dict[str, Any], *, private: bool) -> Collection:
    """A collection without items. Raises HubProblem (400)."""
    return {
        "id": secrets.token_hex(12),
        "owner": owner,
        "title": _text(data.get("title"), "title", _LONGEST_TITLE),
        "description": _optional(data, "description", _LONGEST_DESCRIPTION),
        "private": private,
        "theme": THEMES[0],
        "items": [],
        "lastUpdated": now(),
    }


def update(collection: Collection, data: dict[str, Any]) -> None:
    """Change its title, description, theme or visibility. Raises HubProblem (400)."""
    if "title" in data:
        collection["title"] = _text(data["title"], "title", _LONGEST_TITLE)
    if "description" in data:
        collection["description"] = _optional(data, "description", _LONGEST_DESCRIPTION)
    if "theme" in data:
        if data["theme"] not in THEMES:
            raise HubProblem(400, f"theme must be one of {', '.join(THEMES)}")
        collection["theme"] = data["theme"]
    if "private" in data:
        collection["private"] = data["private"] is True
    collection["lastUpdated"] = now()


def item_of(data: dict[str, Any]) -> tuple[str, str]:
    """The type and id of what a request would add. Raises HubProblem (400)."""
    item = data.get("item")
    kind, name = (item.get("type"), item.get("id")) if isinstance(item, dict) else (None, None)
    if kind not in ITEM_TYPES or not isinstance(name, str):
        raise HubProblem(400, f"An item needs an id and a type of {', '.join(ITEM_TYPES)}, not {kind!r}")
    return kind, name


def add_item(collection: Collection, item: dict[str, Any], note: object) -> None:
    """Add a model, dataset or collection at the end. Raises HubProblem: 409 if it is there, 400."""
    if any((known["type"], known["id"]) == (item["type"], item["id"]) for known in collection["items"]):
        raise HubProblem(409, f"{item['type']} {item['id']} is in this collection already")
    if len(collection["items"]) >= _MOST_ITEMS:
        raise HubProblem(400, f"A collection has {_MOST_ITEMS} items at the most")
    added = {"_id": secrets.token_hex(12), "type": item["type"], "id": item["id"], "note": None}
    _set_note(added, note)
    collection["items"].append(added)
    collection["lastUpdated"] = now()


def change_item(collection: Collection, item_id: str, data: dict[str, Any]) -> None:
    """Change its note, or its place among the items. Raises HubProblem: 404, 400."""
    found = _item(collection, item_id)
    if "note" in data:
        _set_note(found, data["note"])
    if "position" in data:
        if not isinstance(data["position"], int) or not 0 <= data["position"] < len(collection["items"]):
            raise HubProblem(400, "position must be that of an item")
        collection["items"].remove(found)
        collection["items"].insert(data["position"], found)
    collection["lastUpdated"] = now()


def remove_item(collection: Collection, item_id: str) -> None:
    """Take an item out. Raises HubProblem (404)."""
    collection["items"].remove(_item(collection, item_id))
    collection["lastUpdated"] = now()


def _item(collection: Collection, item_id: str) -> dict[str, Any]:
    found = next((item for item in collection["items"] if item["_id"] == item_id), None)
    if found is None:
        raise HubProblem(404, f"There is no item {item_id} in this collection")
    assert isinstance(found, dict)
    return found


def _set_note(item: dict[str, Any], note: object) -> None:
    item["note"] = {"text": _text(note, "note", _LONGEST_NOTE), "html": ""} if note else None


def _text(value: object, what: str, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise HubProblem(400, f"The {what} must be a text of 1 to {longest} characters")
    return value.strip()


def _optional(data: dict[str, Any], key: str, longest: int) -> str | None:
    return _text(data[key], key, longest) if data.get(key) else None
