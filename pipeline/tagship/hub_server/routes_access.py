"""Gated repositories: asking for access, and letting people in or not."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server import access_requests
from tagship.hub_server.access_requests import AccessRequest, Status
from tagship.hub_server.backend import backend, param
from tagship.hub_server.directory import User
from tagship.hub_server.kinds import API, WEB
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import with_body, with_json
from tagship.hub_server.repos import Repo
from tagship.hub_server.times import timestamp


def auth_check(request: Request) -> Response:
    """GET /api/models/{id}/auth-check and /auth-check/write."""
    hub = backend(request)
    hub.writable(request) if request.url.path.endswith("/write") else hub.opened(request)
    return JSONResponse({"ok": True})


def _gated(request: Request) -> Repo:
    """The repository, if it is gated and the request may say who gets in. Raises HubProblem."""
    repo = backend(request).writable(request)
    if repo.gated is None:
        raise HubProblem(400, f"{repo.id} is not gated: everybody who sees it has access")
    return repo


def _shape(request: Request, asked: AccessRequest) -> dict[str, Any]:
    user = backend(request).access.directory.users.get(asked.user, User(name=asked.user, fullname=asked.user))
    # Who was let in without having asked has not shared their address.
    email = {} if asked.granted or not user.email else {"email": user.email}
    return {
        "requestId": asked.id,
        "status": asked.status,
        "timestamp": timestamp(asked.time),
        "user": {"user": user.name, "fullname": user.fullname, **email},
        **({"rejectionReason": asked.reason} if asked.reason else {}),
    }


def list_requests(request: Request) -> Response:
    """GET /api/models/{id}/user-access-request/{status}."""
    status = param(request, "status")
    if status not in [known.value for known in Status]:
        raise HubProblem(404, f"There is no status {status!r}")
    found = [asked for asked in access_requests.requests_of(_gated(request)) if asked.status == status]
    return JSONResponse([_shape(request, asked) for asked in found])


def _user(request: Request, data: dict[str, Any]) -> str:
    """The user that is named. Raises HubProblem: 400 without a name, 404 for an unknown one."""
    name = data.get("user")
    if not isinstance(name, str):
        raise HubProblem(400, "user must be the name of a user")
    if name not in backend(request).access.directory.users:
        raise HubProblem(404, f"User {name!r} not found")
    return name


def grant(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/user-access-request/grant."""
    repo, user = _gated(request), _user(request, data)
    access_requests.grant(repo, user)
    return JSONResponse({"ok": True})


def handle(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/user-access-request/handle, of a user or of a request's id."""
    repo = _gated(request)
    status = next((known for known in Status if known.value == data.get("status")), None)
    if status is None:
        raise HubProblem(400, f"status must be one of {', '.join(known.value for known in Status)}")
    if "requestId" in data:
        found = [asked.user for asked in access_requests.requests_of(repo) if asked.id == data["requestId"]]
        if not found:
            raise HubProblem(404, f"There is no request {data['requestId']!r}")
        user = found[0]
    else:
        user = _user(request, data)
    access_requests.decide(repo, user, status, str(data.get("rejectionReason") or "") or None)
    return JSONResponse({"ok": True})


def ask(request: Request, _body: bytes) -> Response:
    """POST /{id}/ask-access, as the button of the page does."""
    hub = backend(request)
    caller, repo = hub.access.require(request), hub.readable(request)
    if repo.gated is None:
        raise HubProblem(400, f"{repo.id} is not gated: everybody who sees it has access")
    return JSONResponse({"status": access_requests.ask(repo, caller.user.name).value})


_REQUESTS = API + "/user-access-request"

routes = [
    Route(API + "/auth-check", auth_check),
    Route(API + "/auth-check/write", auth_check),
    Route(_REQUESTS + "/grant", with_json(grant), methods=["POST"]),
    Route(_REQUESTS + "/handle", with_json(handle), methods=["POST"]),
    Route(_REQUESTS + "/{status}", list_requests),
    Route(WEB + "/ask-access", with_body(ask, changes=True), methods=["POST"]),
]
