"""The routes that make, move, copy and delete whole repositories, and their settings."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server.access import Caller
from tagship.hub_server.backend import Backend, backend, base_url
from tagship.hub_server.git import GitFailed
from tagship.hub_server.kinds import API, Kind
from tagship.hub_server.names import split_repo_id
from tagship.hub_server.problem import HubProblem, repo_not_found
from tagship.hub_server.receiving import with_json
from tagship.hub_server.repos import Repo, RepoStore
from tagship.hub_server.summaries import refresh

_SETTINGS = {"private": ("true", "false"), "gated": ("auto", "manual", "false")}
_VISIBILITIES = ("public", "private")


def _kind(data: dict[str, Any]) -> Kind:
    wanted = data.get("type") or Kind.MODEL.value
    found = next((kind for kind in Kind if kind.value == wanted), None)
    if found is None:
        raise HubProblem(400, f"The embedded Hub holds models and datasets, and no {wanted}s")
    return found


def _named(request: Request, data: dict[str, Any]) -> tuple[str, str]:
    """The namespace and name in the body of /repos/create and /repos/delete."""
    hub = backend(request)
    namespace = data.get("organization") or hub.access.require(request).user.name
    namespace, name = split_repo_id(f"{namespace}/{data.get('name', '')}")
    return hub.access.directory.canonical(namespace), name


def _private(hub: Backend, namespace: str, data: dict[str, Any]) -> bool:
    """What the request says, or else what the organization does."""
    if (visibility := data.get("visibility")) is not None:
        if visibility not in _VISIBILITIES:
            raise HubProblem(400, f"visibility must be one of {', '.join(_VISIBILITIES)}")
        return bool(visibility == "private")
    if data.get("private") is not None:
        return data["private"] is True
    organization = hub.access.organization(namespace)
    return organization is not None and organization.private


def _made(request: Request, repo: Repo) -> dict[str, str]:
    return {"url": f"{base_url(request)}{repo.page}", "name": repo.id, "id": repo.id}


def create_repo(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/repos/create; 409 with the address if the repository exists."""
    hub, store = backend(request), backend(request).stores[_kind(data)]
    namespace, name = _named(request, data)
    caller = hub.access.require_create(request, namespace)
    settings = _settings(caller, _private(hub, namespace, data))
    return _answer(request, store, (namespace, name), lambda: store.create(namespace, name, settings=settings))


def _answer(request: Request, store: RepoStore, names: tuple[str, str], make: Callable[[], Repo]) -> Response:
    """The address of the repository that is made, or with a 409 of the one that was there before."""
    try:
        repo = make()
        refresh(repo, scratch=backend(request).scratch)
        return JSONResponse(_made(request, repo))
    except HubProblem as problem:
        if problem.status != 409:
            raise
        # The client reads `url` from this answer, too, when exist_ok is set.
        shape = {**_made(request, store.follow(*names)), "error": problem.message, "filesCopyPending": False}
        return JSONResponse(shape, 409, headers={"X-Error-Message": problem.message})


def _settings(caller: Caller, private: bool) -> dict[str, str]:
    return {"creator": caller.user.name, **({"private": "true"} if private else {})}


def _own(request: Request, kind: Kind, namespace: str, name: str) -> Repo:
    """A repository that the request may change, by its name in the body. Raises HubProblem (401, 403, 404)."""
    hub = backend(request)
    hub.access.require_write(request)
    repo = hub.stores[kind].follow(namespace, name)
    try:
        hub.access.require_read(request, repo)
    except GitFailed as error:
        if repo.exists:
            raise
        raise repo_not_found() from error  # moved or deleted in between
    if repo.id.lower() != f"{namespace}/{name}".lower():
        raise repo_not_found()  # an old name must not reach what has another one now
    hub.access.require_owner(request, repo)
    return repo


def delete_repo(request: Request, data: dict[str, Any]) -> Response:
    """DELETE /api/repos/delete."""
    repo = _own(request, _kind(data), *_named(request, data))
    backend(request).stores[repo.kind].delete(repo)
    return PlainTextResponse("OK")


def move_repo(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/repos/move; from then on the old name redirects to the new one."""
    hub = backend(request)
    repo = _own(request, _kind(data), *split_repo_id(str(data.get("fromRepo", ""))))
    namespace, name = split_repo_id(str(data.get("toRepo", "")))
    namespace = hub.access.directory.canonical(namespace)
    hub.access.require_create(request, namespace)
    hub.stores[repo.kind].move(repo, f"{namespace}/{name}")
    return PlainTextResponse("OK")


def duplicate_repo(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/duplicate: a repository with the same branches and tags under another name."""
    hub = backend(request)
    source = hub.opened(request)
    namespace, name = split_repo_id(str(data.get("repository", "")))
    namespace = hub.access.directory.canonical(namespace)
    caller = hub.access.require_create(request, namespace)
    private = source.private if data.get("visibility") is None else _private(hub, namespace, data)
    store, settings = hub.stores[source.kind], _settings(caller, private)

    def copy() -> Repo:
        return store.create(namespace, name, settings=settings, source=source)

    return _answer(request, store, (namespace, name), copy)


def update_settings(request: Request, data: dict[str, Any]) -> Response:
    """PUT /api/models/{id}/settings: `visibility` (or `private`) and `gated`."""
    repo = backend(request).owned(request)
    wanted = {key: str(data[key]).lower() for key in _SETTINGS if key in data}
    if "visibility" in data:
        wanted["private"] = str(_private(backend(request), repo.namespace, data)).lower()
    for key, value in wanted.items():
        if value not in _SETTINGS[key]:
            raise HubProblem(400, f"{key} must be one of {', '.join(_SETTINGS[key])}")
        repo.set(key, value)
    return JSONResponse(wanted)


routes = [
    Route("/api/repos/create", with_json(create_repo), methods=["POST"]),
    Route("/api/repos/delete", with_json(delete_repo), methods=["DELETE"]),
    Route("/api/repos/move", with_json(move_repo), methods=["POST"]),
    Route(API + "/duplicate", with_json(duplicate_repo), methods=["POST"]),
    Route(API + "/settings", with_json(update_settings), methods=["PUT", "PATCH"]),
]
