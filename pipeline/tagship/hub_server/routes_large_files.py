"""The large files of a repository's history: listed, and deleted for good."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend
from tagship.hub_server.kinds import API
from tagship.hub_server.large_files_history import forget, pushed_files
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import with_json
from tagship.hub_server.times import timestamp


def list_files(request: Request) -> Response:
    """GET /api/models/{id}/lfs-files."""
    hub = backend(request)
    return JSONResponse(
        [
            {
                "fileOid": file.pointer.sha256,
                "oid": file.pointer.sha256,
                "filename": file.path,
                "size": file.pointer.size,
                "pushedAt": timestamp(file.time),
                "ref": file.ref,
            }
            for file in pushed_files(hub.writable(request))
        ]
    )


def delete_files(request: Request, data: dict[str, Any]) -> Response:
    """POST /api/models/{id}/lfs-files/batch: takes files out of the whole history; `--gc` then frees their bytes."""
    hub = backend(request)
    repo, deletions = hub.owned(request), data.get("deletions")
    wanted = deletions.get("sha") if isinstance(deletions, dict) else None
    if not isinstance(wanted, list) or not isinstance(deletions, dict):
        raise HubProblem(400, "deletions must have a list of sha256 in sha")
    if deletions.get("rewriteHistory") is not True:
        raise HubProblem(400, "The embedded Hub deletes large files with rewriteHistory only: no commit is left broken")
    gone = {file.blob for file in pushed_files(repo) if file.pointer.sha256 in wanted}
    forget(repo, gone, scratch=hub.scratch)
    return JSONResponse({"success": True})


routes = [
    Route(API + "/lfs-files", list_files),
    Route(API + "/lfs-files/batch", with_json(delete_files), methods=["POST"]),
]
