"""Discussions and pull requests: listed, opened, commented, renamed, closed, merged."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server import discussions as kept
from tagship.hub_server import pull_requests
from tagship.hub_server.access import Caller
from tagship.hub_server.backend import backend, param
from tagship.hub_server.directory import Right
from tagship.hub_server.history import resolve
from tagship.hub_server.kinds import API
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import with_json
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.shapes import flag

_PAGE_SIZE = 50
_FILTERS: dict[str, dict[str, Any]] = {
    "type": {
        "all": lambda found: True,
        "discussion": lambda found: not found["isPullRequest"],
        "pull_request": lambda found: found["isPullRequest"],
    },
    "status": {
        "all": lambda found: True,
        "open": lambda found: found["status"] in ("open", "draft"),
        "closed": lambda found: found["status"] in ("closed", "merged"),
    },
}


def _brief(repo: Repo, found: kept.Discussion) -> dict[str, Any]:
    shape = {key: value for key, value in found.items() if key != "events"}
    comments = sum(event["type"] == "comment" for event in found["events"])
    return {**shape, "repo": {"name": repo.id, "type": repo.kind.value}, "numComments": comments, "pinned": False}


def list_discussions(request: Request) -> Response:
    """GET /api/models/{id}/discussions?p=&type=&status=&author="""
    repo, query = backend(request).readable(request), request.query_params
    found = kept.discussions_of(repo)
    for name, choices in _FILTERS.items():
        choice = query.get(name, "all")
        if choice not in choices:
            raise HubProblem(400, f"{name} must be one of {', '.join(choices)}")
        found = [item for item in found if choices[choice](item)]
    if author := query.get("author"):
        found = [item for item in found if item["author"]["name"] == author]
    page = query.get("p", "0")
    start = int(page) * _PAGE_SIZE if page.isascii() and page.isdigit() and len(page) < 9 else 0
    shapes = [_brief(repo, item) for item in found[start : start + _PAGE_SIZE]]
    return JSONResponse({"discussions": shapes, "count": len(found), "start": start, "numClosedDiscussions": 0})


def open_discussion(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions; a pull request begins as a draft without commits."""
    repo, caller = backend(request).discussed(request)
    title, description = kept.text(data.get("title"), "title"), str(data.get("description") or "")
    if not data.get("pullRequest"):
        with kept.opening(repo, caller.user, title, description) as opened:
            pass
        return JSONResponse(_brief(repo, opened))
    opened = pull_requests.open_pull_request(
        repo,
        caller.user,
        title=title,
        description=description,
        commit=resolve(repo, DEFAULT_BRANCH),
        base=f"refs/heads/{DEFAULT_BRANCH}",
        status="draft",
    )
    return JSONResponse(_brief(repo, opened))


def show(request: Request) -> Response:
    """GET /api/models/{id}/discussions/{number}; with `diff`, what a pull request changes."""
    repo = backend(request).readable(request)
    found = kept.discussion(repo, param(request, "number"))
    shape = {**_brief(repo, found), "events": pull_requests.events(repo, found)}
    if found["isPullRequest"]:
        shape |= pull_requests.details(repo, found)
        if not flag(request.query_params.get("diff")):
            del shape["diff"]
    return JSONResponse(shape)


def _moderates(request: Request, repo: Repo, caller: Caller) -> bool:
    return backend(request).access.may(caller, repo, Right.WRITE)


def _check_own(request: Request, repo: Repo, caller: Caller, found: kept.Discussion) -> None:
    """Raises HubProblem (403) if the discussion is neither the caller's nor in a repository that they may write to."""
    if found["author"]["name"] != caller.user.name and not _moderates(request, repo, caller):
        raise HubProblem(403, "Forbidden: this discussion is somebody else's")


def comment(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions/{number}/comment."""
    repo, caller = backend(request).discussed(request)
    event = kept.comment_event(caller.user, data.get("comment"))
    with kept.changing(repo, param(request, "number")) as found:
        found["events"].append(event)
    return JSONResponse({"newMessage": event})


def rename(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions/{number}/title."""
    repo, caller = backend(request).discussed(request)
    title = kept.text(data.get("title"), "title")
    with kept.changing(repo, param(request, "number")) as found:
        _check_own(request, repo, caller, found)
        event = kept.event(caller.user, "title-change", {"from": found["title"], "to": title})
        found["title"] = title
        found["events"].append(event)
    return JSONResponse({"newTitle": event})


def change_status(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions/{number}/status, with a comment if there is one."""
    repo, caller = backend(request).discussed(request)
    status = data.get("status")
    if status not in kept.STATUSES:
        raise HubProblem(400, f"status must be one of {', '.join(kept.STATUSES)}")
    with kept.changing(repo, param(request, "number")) as found:
        _check_own(request, repo, caller, found)
        if found["status"] in ("merged", status):
            raise HubProblem(400, f"This discussion is {found['status']} already")
        found["status"] = status
        event = kept.event(caller.user, "status-change", {"status": status})
        if data.get("comment"):
            found["events"].append(kept.comment_event(caller.user, data["comment"]))
        found["events"].append(event)
    return JSONResponse({"newStatus": event})


def merge(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions/{number}/merge."""
    repo = backend(request).writable(request)
    caller = backend(request).access.require(request)
    with kept.changing(repo, param(request, "number")) as found:
        if not found["isPullRequest"]:
            raise HubProblem(400, "A discussion without commits cannot be merged")
        pull_requests.merge(repo, found, caller.user, str(data.get("comment") or "") or None)
    return JSONResponse({"status": "merged"})


def change_comment(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/discussions/{number}/comment/{comment}/edit and /hide."""
    repo, caller = backend(request).discussed(request)
    hides = request.url.path.endswith("/hide")
    with kept.changing(repo, param(request, "number")) as found:
        moderator = hides and _moderates(request, repo, caller)
        message = kept.own_comment(found, param(request, "comment"), caller.user, moderator=moderator)
        if hides:
            kept.hide(message, caller.user)
        else:
            kept.edit(message, caller.user, data.get("content"))
    return JSONResponse({"updatedComment": message})


_ALL = API + "/discussions"
_ONE = _ALL + "/{number}"

routes = [
    Route(_ALL, list_discussions),
    Route(_ALL, with_json(open_discussion), methods=["POST"]),
    Route(_ONE, show),
    Route(_ONE + "/comment", with_json(comment), methods=["POST"]),
    Route(_ONE + "/title", with_json(rename), methods=["POST"]),
    Route(_ONE + "/status", with_json(change_status), methods=["POST"]),
    Route(_ONE + "/merge", with_json(merge), methods=["POST"]),
    Route(_ONE + "/comment/{comment}/edit", with_json(change_comment), methods=["POST"]),
    Route(_ONE + "/comment/{comment}/hide", with_json(change_comment), methods=["POST"]),
]
