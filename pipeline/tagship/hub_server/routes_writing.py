"""The routes that change what is in a repository: commits, tags, branches."""

import tempfile
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server.access import Caller
from tagship.hub_server.backend import backend, base_url, param
from tagship.hub_server.cards import BadCard, check
from tagship.hub_server.commits import Draft, commit, read_request
from tagship.hub_server.content import Noted
from tagship.hub_server.directory import Right
from tagship.hub_server.discussions import discussion
from tagship.hub_server.history import resolve
from tagship.hub_server.kinds import API
from tagship.hub_server.names import PULL_REQUEST_REF
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.pull_requests import propose
from tagship.hub_server.receiving import Upload, changing, listed, text, with_json, with_upload
from tagship.hub_server.refs import create_branch, create_tag, delete_branch, delete_tag, head_ref
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.shapes import flag
from tagship.hub_server.squash import super_squash
from tagship.hub_server.summaries import refresh
from tagship.hub_server.upload_mode import Candidate, decide


def validate_yaml(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/validate-yaml: the card's metadata, before anything is uploaded."""
    try:
        warnings = check(str(data.get("content", "")))
    except BadCard as error:
        # ModelCard.validate wants text, create_commit wants a list of errors.
        if request.headers.get("accept") == "text/plain":
            return PlainTextResponse(f"- Error: {error}", status_code=400)
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": [{"message": warning} for warning in warnings]})


def _proposed(request: Request) -> bool:
    return flag(request.query_params.get("create_pr"))


def _committable(request: Request) -> tuple[Repo, Caller]:
    """The repository and who asks, if they may commit to it, or propose to where that is what they do."""
    hub = backend(request)
    if not _proposed(request) and not PULL_REQUEST_REF.fullmatch(param(request, "revision")):
        repo = hub.writable(request)
        return repo, hub.access.require(request)
    repo, caller = hub.discussed(request)
    if not _proposed(request) and not hub.access.may(caller, repo, Right.WRITE):
        number = param(request, "revision").rpartition("/")[2]
        if discussion(repo, number)["author"]["name"] != caller.user.name:
            raise HubProblem(403, f"Forbidden: pull request {number} of {repo.id} is somebody else's")
    return repo, caller


def preupload(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/preupload/{revision}: how each file is to be uploaded."""
    hub, (repo, _) = backend(request), _committable(request)
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
    """POST /api/models/{id}/commit/{branch}, or to a new pull request with `create_pr`."""
    hub, (repo, caller) = backend(request), _committable(request)
    ref = head_ref(param(request, "revision"))
    shape: dict[str, Any] = {"success": True, "hookOutput": ""}
    with tempfile.TemporaryDirectory(dir=hub.scratch) as staging:
        used = Noted(hub.files)
        wanted = read_request(upload.path, Path(staging), used.find)
        draft = Draft.of(repo, wanted, author=caller.user.name, scratch=hub.scratch)
        if _proposed(request):
            opened = propose(draft, ref, caller.user)
            shape["pullRequestUrl"] = f"{base_url(request)}{repo.page}/discussions/{opened['num']}"
            oid = opened["commit"]
        else:
            oid = commit(draft, ref)
    hub.files.settle(used.sha256s)
    refresh(repo, scratch=hub.scratch)
    url = f"{base_url(request)}{repo.page}/commit/{oid}"
    return JSONResponse({**shape, "commitOid": oid, "commitUrl": url})


def tag(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/tag/{revision}; 409 if the tag exists."""
    hub = backend(request)
    repo = hub.writable(request)
    create_tag(repo, data.get("tag"), hub.revision(request, repo), text(data, "message") or "")
    return PlainTextResponse("OK")


def untag(request: Request) -> Response:
    """DELETE /api/models/{id}/tag/{tag}."""
    delete_tag(backend(request).owned(request), param(request, "revision"))
    return PlainTextResponse("OK")


def branch(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/branch/{name}, from `startingPoint` or the default branch."""
    repo = backend(request).writable(request)
    start = resolve(repo, str(data.get("startingPoint") or DEFAULT_BRANCH))
    create_branch(repo, param(request, "revision"), start)
    return PlainTextResponse("OK")


def squash(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/super-squash/{branch}: all its commits become one."""
    hub = backend(request)
    repo, branch_name = hub.owned(request), param(request, "revision")
    message = str(data.get("message") or f"Super-squash branch '{branch_name}'")
    author = hub.access.require(request).user.name
    super_squash(repo, head_ref(branch_name), message, author=author)
    return PlainTextResponse("OK")


def unbranch(request: Request) -> Response:
    """DELETE /api/models/{id}/branch/{name}."""
    delete_branch(backend(request).writable(request), param(request, "revision"))
    return PlainTextResponse("OK")


routes = [
    Route("/api/validate-yaml", with_json(validate_yaml), methods=["POST"]),
    Route(API + "/preupload/{revision}", with_json(preupload), methods=["POST"]),
    Route(API + "/commit/{revision}", with_upload(create_commit, check=_committable), methods=["POST"]),
    Route(API + "/super-squash/{revision}", with_json(squash), methods=["POST"]),
    Route(API + "/tag/{revision}", with_json(tag), methods=["POST"]),
    Route(API + "/tag/{revision}", changing(untag), methods=["DELETE"]),
    Route(API + "/branch/{revision}", with_json(branch), methods=["POST"]),
    Route(API + "/branch/{revision}", changing(unbranch), methods=["DELETE"]),
]
