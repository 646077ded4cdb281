"""Collections: listed, made, changed, and their items."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server import collection_store as store
from tagship.hub_server.access import Caller
from tagship.hub_server.backend import Backend, backend, param
from tagship.hub_server.collection_store import Collection
from tagship.hub_server.directory import Right
from tagship.hub_server.kinds import Kind
from tagship.hub_server.names import split_repo_id
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import changing, with_json
from tagship.hub_server.records import Record
from tagship.hub_server.repos import Repo, unless_gone

# A list shows so many items of each collection, as the Hub's does.
_SHOWN = 4


def _record(hub: Backend) -> Record:
    return Record(hub.root / "collections.json")


def _may_see(hub: Backend, caller: Caller | None, collection: Collection) -> bool:
    if not collection["private"]:
        return True
    return caller is not None and hub.access.directory.membership(caller.user, collection["owner"]) is not None


def _item_repo(hub: Backend, caller: Caller | None, item: dict[str, Any]) -> Repo | None:
    """The repository of an item, None if it is gone or hidden from the caller. Raises HubProblem (400)."""
    kind = next(kind for kind in Kind if kind.value == item["type"])
    try:
        repo = hub.stores[kind].follow(*split_repo_id(item["id"]))
    except HubProblem:
        return None
    return repo if unless_gone(repo, lambda repo: hub.access.may(caller, repo, Right.READ)) else None


def _shape(request: Request, kept: dict[str, Any], collection: Collection) -> dict[str, Any]:
    hub = backend(request)
    caller = hub.access.caller(request)
    items = []
    for item in collection["items"]:
        if item["type"] == "collection":
            found = kept.get(item["id"])
            if found is not None and _may_see(hub, caller, found):
                items.append({**item, "slug": store.slug(found), "title": found["title"]})
        elif repo := _item_repo(hub, caller, item):
            items.append({**item, "id": repo.id})
    return {
        "slug": store.slug(collection),
        "title": collection["title"],
        "description": collection["description"],
        "owner": {"name": collection["owner"]},
        "private": collection["private"],
        "theme": collection["theme"],
        "lastUpdated": collection["lastUpdated"],
        "upvotes": 0,
        "items": [{**item, "position": position} for position, item in enumerate(items)],
    }


def _client_shape(request: Request, kept: dict[str, Any], collection: Collection) -> dict[str, Any]:
    """One collection as the client reads it: the owner is an object in lists only, and `position` is missing there."""
    return {**_shape(request, kept, collection), "position": 0}


def list_collections(request: Request) -> Response:
    """GET /api/collections?owner=&item=&q=&sort=&limit=, the latest first."""
    hub, query = backend(request), request.query_params
    caller, kept = hub.access.caller(request), _record(hub).read()
    found = [collection for collection in kept.values() if _may_see(hub, caller, collection)]
    owners = query.getlist("owner")
    found = [one for one in found if not owners or one["owner"] in owners]
    for wanted in query.getlist("item"):
        found = [one for one in found if any(f"{item['type']}s/{item['id']}" == wanted for item in one["items"])]
    if words := query.get("q", "").lower():
        found = [one for one in found if words in one["title"].lower()]
    found.sort(key=lambda one: str(one["lastUpdated"]), reverse=True)
    limit = query.get("limit", "")
    count = min(int(limit), hub.page_size) if limit.isascii() and limit.isdigit() and len(limit) < 9 else hub.page_size
    shapes = [_shape(request, kept, one) for one in found[:count]]
    return JSONResponse([{**shape, "items": shape["items"][:_SHOWN]} for shape in shapes])


def create(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/collections."""
    hub = backend(request)
    owner = hub.access.directory.canonical(str(data.get("namespace") or hub.access.require(request).user.name))
    hub.access.require_create(request, owner)
    made = store.new(owner, data, private=data.get("private") is True)
    with _record(hub).change() as kept:
        kept[made["id"]] = made
        return JSONResponse(_client_shape(request, kept, made))


def _slug(request: Request) -> str:
    return f"{param(request, 'namespace')}/{param(request, 'slug')}"


def shape_of(request: Request) -> dict[str, Any]:
    """The collection in the request's path, if it may be seen. Raises HubProblem (404)."""
    hub = backend(request)
    kept = _record(hub).read()
    collection = store.find(kept, _slug(request))
    if not _may_see(hub, hub.access.caller(request), collection):
        raise HubProblem(404, f"Collection {_slug(request)!r} not found")
    return _client_shape(request, kept, collection)


def show(request: Request) -> Response:
    """GET /api/collections/{slug}."""
    return JSONResponse(shape_of(request))


def _own(request: Request, kept: dict[str, Any]) -> Collection:
    """The collection, if the request may change it. Raises HubProblem (401, 403, 404)."""
    hub = backend(request)
    caller, collection = hub.access.require_write(request), store.find(kept, _slug(request))
    if not _may_see(hub, caller, collection):
        raise HubProblem(404, f"Collection {_slug(request)!r} not found")
    if not hub.access.may_create(caller, collection["owner"]):
        raise HubProblem(403, f"Forbidden: this collection is {collection['owner']}'s")
    return collection


def update(request: Request, data: dict[str, Any]) -> Response:
    """PATCH /api/collections/{slug}."""
    with _record(backend(request)).change() as kept:
        collection = _own(request, kept)
        store.update(collection, data)
        return JSONResponse({"success": True, "data": _client_shape(request, kept, collection)})


def delete(request: Request) -> Response:
    """DELETE /api/collections/{slug}."""
    with _record(backend(request)).change() as kept:
        del kept[_own(request, kept)["id"]]
    return PlainTextResponse("OK")


def add_item(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/collections/{slug}/items; 409 if it is in there."""
    hub = backend(request)
    kind, name = store.item_of(data)
    with _record(hub).change() as kept:
        collection = _own(request, kept)
        if kind == "collection":
            item = {"type": kind, "id": store.find(kept, name)["id"]}
        else:
            repo = _item_repo(hub, hub.access.caller(request), {"type": kind, "id": name})
            if repo is None:
                raise HubProblem(404, f"{kind} {name!r} not found")
            item = {"type": kind, "id": repo.id}
        store.add_item(collection, item, data.get("note"))
        return JSONResponse(_client_shape(request, kept, collection))


def change_item(request: Request, data: dict[str, Any]) -> Response:
    """PATCH /api/collections/{slug}/items/{item}."""
    with _record(backend(request)).change() as kept:
        store.change_item(_own(request, kept), param(request, "item"), data)
    return JSONResponse({"success": True})


def remove_item(request: Request) -> Response:
    """DELETE /api/collections/{slug}/items/{item}."""
    with _record(backend(request)).change() as kept:
        store.remove_item(_own(request, kept), param(request, "item"))
    return PlainTextResponse("OK")


_ALL = "/api/collections"
_ONE = _ALL + "/{namespace}/{slug}"
_ITEM = _ONE + "/items/{item}"

routes = [
    Route(_ALL, list_collections),
    Route(_ALL, with_json(create), methods=["POST"]),
    Route(_ONE, show),
    Route(_ONE, with_json(update), methods=["PATCH"]),
    Route(_ONE, changing(delete), methods=["DELETE"]),
    Route(_ONE + "/items", with_json(add_item), methods=["POST"]),
    # The client of 1.x says so.
    Route(_ONE + "/item", with_json(add_item), methods=["POST"]),
    Route(_ITEM, with_json(change_item), methods=["PATCH"]),
    Route(_ITEM, changing(remove_item), methods=["DELETE"]),
]
