"""The routes that only look: who am I, a model, trees, commits, files, pages."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import Backend, backend, base_url, param
from tagship.hub_server.content import LargeFile
from tagship.hub_server.history import (
    Commit,
    Entry,
    commits,
    entries_at,
    file_at,
    file_bytes,
    refs,
    resolve,
    tree,
)
from tagship.hub_server.names import check_path
from tagship.hub_server.pages import repo_page
from tagship.hub_server.problem import HubProblem, entry_not_found
from tagship.hub_server.receiving import with_body
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.sending import Body, send
from tagship.hub_server.shapes import (
    commit_json,
    entry_json,
    flag,
    model_json,
    only,
    readme_of,
    ref_json,
    timestamp,
    wanted_fields,
)


def _revision(request: Request) -> str:
    return param(request, "revision") if "revision" in request.path_params else DEFAULT_BRANCH


def whoami(request: Request) -> Response:
    """GET /api/whoami-v2."""
    hub = backend(request)
    role = hub.access.require(request)
    token = {"displayName": "embedded", "role": role.value, "createdAt": timestamp(0)}
    return JSONResponse(
        {
            "type": "user",
            "id": hub.namespace,
            "name": hub.namespace,
            "fullname": hub.namespace,
            "isPro": False,
            "canPay": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def auth_check(request: Request) -> Response:
    """GET /api/models/{id}/auth-check and /auth-check/write."""
    hub = backend(request)
    hub.writable(request) if request.url.path.endswith("/write") else hub.readable(request)
    return JSONResponse({"ok": True})


def model(request: Request) -> Response:
    """GET /api/models/{id} and /revision/{revision}; with `expand`, those fields only."""
    repo, query = backend(request).readable(request), request.query_params
    shape = model_json(repo, resolve(repo, _revision(request)), blobs=flag(query.get("blobs")))
    fields = wanted_fields(query)
    return JSONResponse(only(shape, fields) if fields else shape)


def _entries_response(hub: Backend, repo: Repo, commit: str, entries: list[Entry], expand: bool) -> Response:
    def last(entry: Entry) -> Commit | None:
        return commits(repo, commit, limit=1, path=entry.path)[0] if expand else None

    shapes = [entry_json(entry, hub.files.find, last(entry)) for entry in entries]
    return JSONResponse(shapes, headers={"X-Repo-Commit": commit})


def list_tree(request: Request) -> Response:
    """GET /api/models/{id}/tree/{revision}/{path}; not paginated."""
    hub, query = backend(request), request.query_params
    repo = hub.readable(request)
    commit = hub.revision(request, repo)
    folder = param(request, "path").strip("/") if "path" in request.path_params else ""
    if folder:
        check_path(folder)
    entries = tree(repo, commit, folder, recursive=flag(query.get("recursive")))
    return _entries_response(hub, repo, commit, entries, flag(query.get("expand")))


def paths_info(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/paths-info/{revision}, a form of `paths` and `expand`."""
    hub = backend(request)
    repo = hub.readable(request)
    commit = hub.revision(request, repo)
    form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    paths = [check_path(path.rstrip("/")) for path in form.get("paths", []) if path.rstrip("/")]
    expand = flag(form.get("expand", [""])[0])
    return _entries_response(hub, repo, commit, entries_at(repo, commit, paths), expand)


def list_refs(request: Request) -> Response:
    """GET /api/models/{id}/refs."""
    repo = backend(request).readable(request)
    return JSONResponse(
        {
            "branches": [ref_json(ref) for ref in refs(repo, "heads")],
            "tags": [ref_json(ref) for ref in refs(repo, "tags")],
            "converts": [],
            "pullRequests": [],
        }
    )


def list_commits(request: Request) -> Response:
    """GET /api/models/{id}/commits/{revision}; not paginated."""
    hub = backend(request)
    repo = hub.readable(request)
    formatted = "formatted" in request.query_params.getlist("expand[]")
    found = commits(repo, hub.revision(request, repo))
    return JSONResponse([commit_json(commit, repo.namespace, formatted=formatted) for commit in found])


def large_body(request: Request, file: LargeFile) -> Body:
    """A large file as a body to send."""
    hub = backend(request)
    cas_url, token = hub.cas_url(request), hub.signer.grant("xet:read")
    return Body(
        size=file.size,
        read=lambda start, end: hub.files.read(file, start, end, cas_url=cas_url, token=token),
    )


def resolve_file(request: Request) -> Response:
    """GET or HEAD /{id}/resolve/{revision}/{path}."""
    hub = backend(request)
    repo = hub.readable(request)
    commit = hub.revision(request, repo)
    try:
        entry = file_at(repo, commit, check_path(param(request, "path")))
    except HubProblem as problem:
        raise entry_not_found(param(request, "path"), commit) from problem
    headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.oid}"'}
    file = hub.files.find(entry.pointer.sha256) if entry.pointer else None
    if file is None:
        body = Body.of(file_bytes(repo, entry))
        return send(request, body, headers, media_type="text/plain; charset=utf-8")
    headers |= {
        "ETag": f'"{file.sha256}"',
        "X-Linked-Etag": f'"{file.sha256}"',
        "X-Linked-Size": str(file.size),
    }
    if file.xet_hash:
        refresh = f"{base_url(request)}/api/models/{repo.id}/xet-read-token/{commit}"
        headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{refresh}>; rel="xet-auth"'}
    return send(request, large_body(request, file), headers, media_type="application/octet-stream")


def page(request: Request) -> Response:
    """GET /{id}, /{id}/tree/{revision} and /{id}/commit/{revision}: something for a browser."""
    repo = backend(request).readable(request)
    commit = resolve(repo, _revision(request))
    entries = [entry for entry in tree(repo, commit, recursive=True) if not entry.is_folder]
    html = repo_page(repo.id, commit, entries, readme_of(repo, entries))
    return HTMLResponse(html, headers={"Content-Security-Policy": "default-src 'none'"})


_API = "/api/models/{namespace}/{name}"
_WEB = "/{namespace}/{name}"

routes = [
    Route("/api/whoami-v2", whoami),
    Route(_API, model),
    Route(_API + "/revision/{revision}", model),
    Route(_API + "/auth-check", auth_check),
    Route(_API + "/auth-check/write", auth_check),
    Route(_API + "/tree/{revision}", list_tree),
    Route(_API + "/tree/{revision}/{path:path}", list_tree),
    Route(_API + "/paths-info/{revision}", with_body(paths_info), methods=["POST"]),
    Route(_API + "/refs", list_refs),
    Route(_API + "/commits/{revision}", list_commits),
    Route(_WEB + "/resolve/{revision}/{path:path}", resolve_file),
    Route(_WEB, page),
    Route(_WEB + "/tree/{revision}", page),
    Route(_WEB + "/commit/{revision}", page),
]
