"""The routes that change something: repositories, commits, tags, branches, settings."""

import tempfile
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend, base_url, param
from tagship.hub_server.cards import BadCard, check
from tagship.hub_server.commits import commit, read_request
from tagship.hub_server.content import Noted
from tagship.hub_server.history import resolve
from tagship.hub_server.names import split_repo_id
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import Upload, changing, listed, text, with_json, with_upload
from tagship.hub_server.refs import create_branch, create_tag, delete_branch, delete_tag
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.summaries import refresh
from tagship.hub_server.upload_mode import Candidate, decide

_SETTINGS = {"private": ("true", "false"), "gated": ("auto", "manual", "false")}


def _models_only(data: dict[str, Any]) -> None:
    if data.get("type", "model") not in (None, "model"):
        raise HubProblem(400, f"The embedded Hub holds models only, not a {data['type']}")


def _named(request: Request, data: dict[str, Any]) -> tuple[str, str]:
    """The namespace and name in the body of /repos/create and /repos/delete."""
    _models_only(data)
    namespace = data.get("organization") or backend(request).namespace
    return split_repo_id(f"{namespace}/{data.get('name', '')}")


def create_repo(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/repos/create; 409 with the address if the repository exists."""
    hub = backend(request)
    hub.access.require_write(request)
    namespace, name = _named(request, data)
    private = data.get("visibility") == "private" or data.get("private") is True
    shape = {"url": f"{base_url(request)}/{namespace}/{name}", "name": f"{namespace}/{name}"}
    try:
        refresh(hub.repos.create(namespace, name, private=private), scratch=hub.scratch)
    except HubProblem as problem:
        if problem.status != 409:
            raise
        # The client reads `url` from this answer, too, when exist_ok is set.
        return JSONResponse({**shape, "error": problem.message}, 409, headers={"X-Error-Message": problem.message})
    return JSONResponse(shape)


def delete_repo(request: Request, data: dict[str, Any]) -> Response:
    """DELETE /api/repos/delete."""
    hub = backend(request)
    hub.access.require_write(request)
    hub.repos.delete(hub.repos.find(*_named(request, data)))
    return PlainTextResponse("OK")


def move_repo(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/repos/move; from then on the old name redirects to the new one."""
    hub = backend(request)
    hub.access.require_write(request)
    _models_only(data)
    repo = hub.repos.find(*split_repo_id(str(data.get("fromRepo", ""))))
    hub.repos.move(repo, str(data.get("toRepo", "")))
    return PlainTextResponse("OK")


def update_settings(request: Request, data: dict[str, Any]) -> Response:
    """PUT /api/models/{id}/settings: `visibility` (or `private`) and `gated`."""
    repo = backend(request).writable(request)
    wanted = {key: str(data[key]).lower() for key in _SETTINGS if key in data}
    if "visibility" in data:
        wanted["private"] = str(data["visibility"] == "private").lower()
    for key, value in wanted.items():
        if value not in _SETTINGS[key]:
            raise HubProblem(400, f"{key} must be one of {', '.join(_SETTINGS[key])}")
        repo.set(key, value)
    return JSONResponse(wanted)


def validate_yaml(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/validate-yaml: the card's metadata, before anything is uploaded."""
    try:
        warnings = check(str(data.get("content", "")))
    except BadCard as error:
        # ModelCard.validate wants text, create_commit wants a list of errors.
        if request.headers.get("accept") == "text/plain":
            return PlainTextResponse(str(error), status_code=400)
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": [{"message": warning} for warning in warnings]})


def _no_pull_requests(request: Request) -> Repo:
    repo = backend(request).writable(request)
    if request.query_params.get("create_pr"):
        raise HubProblem(400, "The embedded Hub has no pull requests: commit to a branch")
    return repo


def preupload(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/preupload/{revision}: how each file is to be uploaded."""
    hub, repo = backend(request), _no_pull_requests(request)
    commit_oid = hub.revision(request, repo)
    files = [Candidate.parse(item) for item in listed(data, "files")]
    answers = decide(repo, commit_oid, files, gitignore=text(data, "gitIgnore"), scratch=hub.scratch)
    shapes = [
        {
            "path": answer.path,
            "uploadMode": "lfs" if answer.lfs else "regular",
            "shouldIgnore": answer.ignored,
            "oid": answer.oid,
        }
        for answer in answers
    ]
    return JSONResponse({"files": shapes, "commitOid": commit_oid})


def create_commit(request: Request, upload: Upload) -> Response:
    """POST /api/models/{id}/commit/{branch}."""
    hub, repo = backend(request), _no_pull_requests(request)
    with tempfile.TemporaryDirectory(dir=hub.scratch) as staging:
        used = Noted(hub.files)
        wanted = read_request(upload.path, Path(staging), used.find)
        oid = commit(repo, param(request, "revision"), wanted, scratch=hub.scratch)
    hub.files.settle(used.sha256s)
    refresh(repo, scratch=hub.scratch)
    url = f"{base_url(request)}/{repo.id}/commit/{oid}"
    return JSONResponse({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


def tag(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/tag/{revision}; 409 if the tag exists."""
    hub = backend(request)
    repo = hub.writable(request)
    create_tag(repo, data.get("tag"), hub.revision(request, repo), text(data, "message") or "")
    return PlainTextResponse("OK")


def untag(request: Request) -> Response:
    """DELETE /api/models/{id}/tag/{tag}."""
    delete_tag(backend(request).writable(request), param(request, "revision"))
    return PlainTextResponse("OK")


def branch(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/branch/{name}, from `startingPoint` or the default branch."""
    repo = backend(request).writable(request)
    start = resolve(repo, str(data.get("startingPoint") or DEFAULT_BRANCH))
    create_branch(repo, param(request, "revision"), start)
    return PlainTextResponse("OK")


def unbranch(request: Request) -> Response:
    """DELETE /api/models/{id}/branch/{name}."""
    delete_branch(backend(request).writable(request), param(request, "revision"))
    return PlainTextResponse("OK")


_API = "/api/models/{namespace}/{name}"

routes = [
    Route("/api/repos/create", with_json(create_repo), methods=["POST"]),
    Route("/api/repos/delete", with_json(delete_repo), methods=["DELETE"]),
    Route("/api/repos/move", with_json(move_repo), methods=["POST"]),
    Route("/api/validate-yaml", with_json(validate_yaml), methods=["POST"]),
    Route(_API + "/settings", with_json(update_settings), methods=["PUT", "PATCH"]),
    Route(_API + "/preupload/{revision}", with_json(preupload), methods=["POST"]),
    Route(_API + "/commit/{revision}", with_upload(create_commit, check=_no_pull_requests), methods=["POST"]),
    Route(_API + "/tag/{revision}", with_json(tag), methods=["POST"]),
    Route(_API + "/tag/{revision}", changing(untag), methods=["DELETE"]),
    Route(_API + "/branch/{revision}", with_json(branch), methods=["POST"]),
    Route(_API + "/branch/{revision}", changing(unbranch), methods=["DELETE"]),
]
