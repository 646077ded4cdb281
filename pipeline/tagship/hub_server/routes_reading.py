"""The routes that only look: a repository, its trees, commits and files."""

import json
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend, base_url, param
from tagship.hub_server.conditions import not_modified
from tagship.hub_server.content import LargeFile
from tagship.hub_server.headers import BadHeader
from tagship.hub_server.history import Commit, Entry, commits, entries_at, file_at, file_bytes, refs, resolve, tree
from tagship.hub_server.kinds import API, WEB, Kind
from tagship.hub_server.names import check_path, path_problem
from tagship.hub_server.problem import HubProblem, entry_not_found
from tagship.hub_server.receiving import with_body
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo
from tagship.hub_server.sending import Body, send
from tagship.hub_server.shapes import commit_json, entry_json, flag, model_json, only, ref_json, wanted_fields
from tagship.hub_server.weights import safetensors_headers, with_weights


def _revision(request: Request) -> str:
    return param(request, "revision") if "revision" in request.path_params else DEFAULT_BRANCH


def info(request: Request) -> Response:
    """GET /api/models/{id} and /revision/{revision}; with `expand`, those fields only."""
    hub, query = backend(request), request.query_params
    repo = hub.readable(request)
    fields = wanted_fields(query, repo.kind)
    shape = model_json(repo, resolve(repo, _revision(request)), blobs=flag(query.get("blobs")))
    shape["likes"] = len(repo.record("likes").read())
    if repo.kind is Kind.MODEL and (not fields or {"safetensors", "gguf"} & set(fields)):
        shape = with_weights(request, repo, shape)
    if flag(query.get("blobs")) and not hub.may_open(request, repo):
        shape["siblings"] = [{key: sibling[key] for key in sibling if key != "lfs"} for sibling in shape["siblings"]]
    if flag(query.get("securityStatus")):
        shape["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return JSONResponse(only(shape, fields) if fields else shape)


def weights_headers(request: Request) -> Response:
    """GET /api/models/{id}/safetensors-metadata/{path}: the headers of the shards that an index names."""
    repo = backend(request).opened(request)
    commit = resolve(repo, DEFAULT_BRANCH)
    index = file_at(repo, commit, check_path(param(request, "path")))
    try:
        data = json.loads(file_bytes(repo, index))
        shards = sorted({str(shard) for shard in data["weight_map"].values()})
        headers = safetensors_headers(request, repo, [file_at(repo, commit, check_path(shard)) for shard in shards])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadHeader) as error:
        raise HubProblem(400, f"{index.path} is no index of safetensors files: {error}") from error
    index_json = {key: value for key, value in data.items() if key != "weight_map"}
    return JSONResponse({"index": index_json, "headers": headers})


def _entries_response(request: Request, repo: Repo, commit: str, entries: list[Entry], expand: bool) -> Response:
    hub = backend(request)

    def last(entry: Entry) -> Commit | None:
        return commits(repo, commit, limit=1, path=entry.path)[0] if expand else None

    # Whoever knows the SHA-256 of a large file can commit it elsewhere, and so read it.
    hidden = not hub.may_open(request, repo)
    shapes = [entry_json(entry, hub.files.find, last(entry), hidden=hidden) for entry in entries]
    return JSONResponse(shapes, headers={"X-Repo-Commit": commit})


def list_tree(request: Request) -> Response:
    """GET /api/models/{id}/tree/{revision}/{path}; not paginated."""
    hub, query = backend(request), request.query_params
    repo = hub.readable(request)
    commit = hub.revision(request, repo)
    folder = param(request, "path").strip("/") if "path" in request.path_params else ""
    if folder and path_problem(folder):
        raise entry_not_found(folder, commit)
    entries = tree(repo, commit, folder, recursive=flag(query.get("recursive")))
    return _entries_response(request, repo, commit, entries, flag(query.get("expand")))


def paths_info(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/paths-info/{revision}, a form of `paths` and `expand`."""
    hub = backend(request)
    repo = hub.readable(request)
    commit = hub.revision(request, repo)
    form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    paths = [check_path(path.rstrip("/")) for path in form.get("paths", []) if path.rstrip("/")]
    expand = flag(form.get("expand", [""])[0])
    return _entries_response(request, repo, commit, entries_at(repo, commit, paths), expand)


def list_refs(request: Request) -> Response:
    """GET /api/models/{id}/refs, with pull requests if the query says so."""
    asked = flag(request.query_params.get("include_prs"))
    repo = backend(request).readable(request)
    return JSONResponse(
        {
            "branches": [ref_json(ref) for ref in refs(repo, "heads")],
            "tags": [ref_json(ref) for ref in refs(repo, "tags")],
            "converts": [],
            **({"pullRequests": [ref_json(ref) for ref in refs(repo, "pr")]} if asked else {}),
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
    repo = hub.opened(request)
    commit = hub.revision(request, repo)
    if path_problem(param(request, "path")):
        raise entry_not_found(param(request, "path"), commit)
    entry = file_at(repo, commit, param(request, "path"))
    headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.oid}"'}
    file = hub.files.find(entry.pointer.sha256) if entry.pointer else None
    if file is None:
        if unchanged := not_modified(request, headers):
            return unchanged
        body = Body.of(file_bytes(repo, entry))
        return send(request, body, headers, media_type="text/plain; charset=utf-8")
    headers |= {
        "ETag": f'"{file.sha256}"',
        "X-Linked-Etag": f'"{file.sha256}"',
        "X-Linked-Size": str(file.size),
    }
    if file.xet_hash:
        refresh = f"{base_url(request)}/api/{repo.kind.plural}/{repo.id}/xet-read-token/{commit}"
        headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{refresh}>; rel="xet-auth"'}
    if unchanged := not_modified(request, headers):
        return unchanged
    return send(request, large_body(request, file), headers, media_type="application/octet-stream")


routes = [
    Route(API, info),
    Route(API + "/revision/{revision}", info),
    Route(API + "/tree/{revision}", list_tree),
    Route(API + "/tree/{revision}/{path:path}", list_tree),
    Route(API + "/paths-info/{revision}", with_body(paths_info), methods=["POST"]),
    Route(API + "/refs", list_refs),
    Route(API + "/commits/{revision}", list_commits),
    Route(API + "/safetensors-metadata/{path:path}", weights_headers),
    Route(WEB + "/resolve/{revision}/{path:path}", resolve_file),
]
