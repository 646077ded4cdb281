"""The Git LFS batch API with its basic transfer, for clients that don't speak Xet.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend, base_url, param
from tagship.hub_server.blobs import SHA256
from tagship.hub_server.kinds import WEB
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import Upload, listed, with_json, with_upload
from tagship.hub_server.repos import Repo
from tagship.hub_server.routes_git import asking_for_a_password
from tagship.hub_server.routes_reading import large_body
from tagship.hub_server.sending import send
from tagship.hub_server.signing import LIFETIME_SECONDS

_MEDIA_TYPE = "application/vnd.git-lfs+json"


def _action(request: Request, scope: str, sha256: str) -> dict[str, Any]:
    grant, _ = backend(request).signer.grant(f"{scope}:{sha256}")
    href = f"{base_url(request)}/lfs/objects/{sha256}?grant={grant}"
    return {"href": href, "header": {}, "expires_in": LIFETIME_SECONDS}


def _object(request: Request, item: object, operation: str, repo: Repo) -> dict[str, Any]:
    """What the client should do about one object: nothing, upload, download, or give up."""
    sha256, size = (str(item.get("oid")), item.get("size")) if isinstance(item, dict) else ("", None)
    shape: dict[str, Any] = {"oid": sha256, "size": size if isinstance(size, int) else 0}
    if not SHA256.fullmatch(sha256) or not isinstance(size, int):
        return {**shape, "error": {"code": 422, "message": "not a sha256 and a size"}}
    file = backend(request).files.find(sha256)
    if operation == "download":
        if file is None:
            return {**shape, "error": {"code": 404, "message": "this object was never uploaded"}}
        return {**shape, "actions": {"download": _action(request, "lfs-get", sha256)}}
    if file is not None:
        backend(request).files.claim(file)
        return shape
    verify = {"href": f"{base_url(request)}{repo.page}.git/info/lfs/verify", "header": {}}
    return {**shape, "actions": {"upload": _action(request, "lfs-put", sha256), "verify": verify}}


def batch(request: Request, data: dict[str, Any]) -> Response:
    """POST /{id}.git/info/lfs/objects/batch."""
    hub, operation = backend(request), data.get("operation")
    if operation not in ("upload", "download"):
        raise HubProblem(422, f"Unknown LFS operation: {operation!r}")
    with asking_for_a_password(request):
        repo = hub.discussed(request)[0] if operation == "upload" else hub.opened(request)
    objects = [_object(request, item, operation, repo) for item in listed(data, "objects")]
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type=_MEDIA_TYPE)


def locks(request: Request) -> Response:
    """POST /{id}.git/info/lfs/locks/verify, which git-lfs asks before a push: 501 tells it that there are no locks."""
    backend(request).readable(request)
    raise HubProblem(501, "The embedded Hub has no LFS locks")


def verify(request: Request, data: dict[str, Any]) -> Response:
    """POST /{id}.git/info/lfs/verify: whether an upload arrived."""
    hub = backend(request)
    hub.discussed(request)
    file = hub.files.find(str(data.get("oid")))
    if file is None or file.size != data.get("size"):
        raise HubProblem(404, f"The LFS file {data.get('oid')} did not arrive")
    return JSONResponse({}, media_type=_MEDIA_TYPE)


def _check_grant(request: Request) -> str:
    """The SHA-256 in the path, if the URL was signed for this method. Raises HubProblem (403)."""
    sha256 = param(request, "sha256")
    scope = "lfs-put" if request.method == "PUT" else "lfs-get"
    if not backend(request).signer.allows(f"{scope}:{sha256}", request.query_params.get("grant", "")):
        raise HubProblem(403, "This LFS address has expired or was not given by this Hub")
    return sha256


def put_object(request: Request, upload: Upload) -> Response:
    """PUT /lfs/objects/{sha256}, an address that only a batch gives."""
    sha256 = _check_grant(request)
    if upload.sha256 != sha256:
        raise HubProblem(400, f"The upload has the sha256 {upload.sha256}, not {sha256}")
    backend(request).files.blobs.adopt(upload.path, sha256=sha256)
    return Response(headers={"ETag": f'"{sha256}"'})


def get_object(request: Request) -> Response:
    """GET /lfs/objects/{sha256}, an address that only a batch gives."""
    file = backend(request).files.find(_check_grant(request))
    if file is None:
        raise HubProblem(404, "This LFS file was never uploaded")
    return send(request, large_body(request, file), {}, media_type="application/octet-stream")


_LFS = WEB + ".git/info/lfs"

routes = [
    Route(_LFS + "/objects/batch", with_json(batch), methods=["POST"]),
    Route(_LFS + "/locks/verify", locks, methods=["POST"]),
    Route(_LFS + "/verify", with_json(verify), methods=["POST"]),
    Route("/lfs/objects/{sha256}", with_upload(put_object, check=_check_grant), methods=["PUT"]),
    Route("/lfs/objects/{sha256}", get_object),
]
