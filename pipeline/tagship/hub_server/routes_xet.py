"""Xet over HTTP: the Hub's token routes, and version 1 of the CAS API that hf_xet then talks to.

https://huggingface.co/docs/xet/api. hf_xet also takes an address `local://<folder>`, but there it
holds an exclusive lock on the folder while it works, so that two clients, or a client and this
server, fail in each other's way. Over HTTP there is no lock, and the client runs the same code as
against huggingface.co. It tries version 2 first and falls back to this one when it gets a 404.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tagship.hub_server.backend import backend, param
from tagship.hub_server.blobs import read_blocks
from tagship.hub_server.kinds import API
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import Upload, with_body, with_json, with_upload
from tagship.hub_server.reconstruction import answer, terms
from tagship.hub_server.sending import Body, byte_range, send

_READ, _WRITE = "xet:read", "xet:write"


def _token_response(request: Request, scope: str) -> Response:
    hub = backend(request)
    (token, expiry), url = hub.signer.grant(scope), hub.cas_url(request)
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expiry),
    }
    return JSONResponse({"casUrl": url, "accessToken": token, "exp": expiry}, headers=headers)


def read_token(request: Request) -> Response:
    """GET /api/models/{id}/xet-read-token/{revision}."""
    hub = backend(request)
    hub.revision(request, hub.opened(request))
    return _token_response(request, _READ)


def write_token(request: Request) -> Response:
    """GET /api/models/{id}/xet-write-token/{revision}."""
    hub = backend(request)
    hub.discussed(request)  # large files of a proposal, too; for those the client names no revision but `None`
    return _token_response(request, _WRITE)


def duplicate(request: Request, data: dict[str, object]) -> Response:
    """POST /api/models/{id}/lfs-files/duplicate: large files belong to the whole Hub, so nothing to do."""
    backend(request).opened(request)
    return JSONResponse({"success": [], "failed": []})


def _allow(request: Request, *scopes: str) -> None:
    hub = backend(request)
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    # Of any generation: an upload may have begun before xorbs were removed.
    if param(request, "root_id").partition("-")[0] != hub.signer.root_id:
        raise HubProblem(404, "This is another Hub's CAS address")
    if not any(hub.signer.allows(scope, token) for scope in scopes):
        raise HubProblem(401, "This Xet token has expired or does not allow this")


def _may_write(request: Request) -> None:
    _allow(request, _WRITE)


def post_xorb(request: Request, upload: Upload) -> Response:
    """POST /v1/xorbs/default/{hash}."""
    store = backend(request).files.xet
    inserted = store.add_xorb(param(request, "hash"), upload.path)
    return JSONResponse({"was_inserted": inserted})


def post_shard(request: Request, body: bytes) -> Response:
    """POST /v1/shards: from now on, its files are there."""
    _may_write(request)
    backend(request).files.xet.add_shard(body)
    return JSONResponse({"result": 1})


def reconstruct(request: Request) -> Response:
    """GET /v1/reconstructions/{hash}, for the whole file or a range of it."""
    _allow(request, _READ, _WRITE)
    hub, store = backend(request), backend(request).files.xet
    record = store.record(param(request, "hash"))
    if record is None:
        raise HubProblem(404, "This Xet file was never uploaded")
    start, end = byte_range(request.headers.get("range"), record.size) or (0, record.size)

    def url_of(xorb: str) -> str:
        return f"{hub.cas_url(request)}/xorbs/{xorb}?grant={hub.signer.grant(f'xorb:{xorb}')[0]}"

    return JSONResponse(answer(terms(store, record, start, end), start, url_of))


def get_xorb(request: Request) -> Response:
    """GET /xorbs/{hash}, an address that only a reconstruction gives; a range of it, usually."""
    hub, xorb = backend(request), param(request, "hash")
    if not hub.signer.allows(f"xorb:{xorb}", request.query_params.get("grant", "")):
        raise HubProblem(403, "This xorb's address has expired or was not given by this Hub")
    path = hub.files.xet.xorb(xorb)
    if not path.exists():
        raise HubProblem(404, "This xorb is not here")
    body = Body(size=path.stat().st_size, read=lambda start, end: read_blocks(path, start, end))
    return send(request, body, {}, media_type="application/octet-stream")


def telemetry(request: Request) -> Response:
    """POST /v1/telemetry: hf_xet's statistics, which nobody here wants."""
    return Response(status_code=204)


routes = [
    Route(API + "/xet-read-token/{revision}", read_token),
    Route(API + "/xet-write-token/{revision}", write_token),
    Route(API + "/lfs-files/duplicate", with_json(duplicate), methods=["POST"]),
    Route("/v1/telemetry", telemetry, methods=["POST"]),
    Mount(
        "/xet/{root_id}",
        routes=[
            Route("/v1/xorbs/default/{hash}", with_upload(post_xorb, check=_may_write), methods=["POST"]),
            Route("/v1/shards", with_body(post_shard, changes=True), methods=["POST"]),
            Route("/v1/reconstructions/{hash}", reconstruct),
            Route("/xorbs/{hash}", get_xorb),
        ],
    ),
]
