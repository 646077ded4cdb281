"""`git clone` and `git fetch` over HTTP; what git holds of a large file is its LFS pointer.

https://git-scm.com/docs/http-protocol. Pushing is for the API: it checks what git would not.
"""

import zlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagship.hub_server.backend import backend
from tagship.hub_server.git import GitFailed
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import MAX_JSON_BYTES, with_body
from tagship.hub_server.repos import Repo

_SERVICE = "git-upload-pack"


def _readable(request: Request) -> Repo:
    """The repository. Raises HubProblem: 401 where the API says 404 to one without a token.

    Git asks for a user and password (any user, and the token) only after a 401.
    """
    hub = backend(request)
    try:
        return hub.readable(request)
    except HubProblem as problem:
        if problem.status == 401 or (problem.status == 404 and hub.access.role(request) is None):
            problem.status = 401
            problem.headers["WWW-Authenticate"] = 'Basic realm="Hub"'
        raise


def _answer(output: bytes, kind: str) -> Response:
    media_type = f"application/x-{_SERVICE}-{kind}"
    return Response(output, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _inflated(body: bytes) -> bytes:
    """A body that git has compressed. Raises HubProblem (400, 413)."""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = inflater.decompress(body, MAX_JSON_BYTES)
    except zlib.error as error:
        raise HubProblem(400, "The body is not gzip") from error
    if inflater.unconsumed_tail:
        raise HubProblem(413, "The request is too large")
    return data


def advertise(request: Request) -> Response:
    """GET /{id}/info/refs?service=git-upload-pack: every ref and its commit."""
    if request.query_params.get("service") != _SERVICE:
        raise HubProblem(403, "The embedded Hub takes no push: upload by its API, for example with `hf upload`")
    refs = _readable(request).git.run("upload-pack", "--stateless-rpc", "--advertise-refs", ".")
    return _answer(b"001e# service=git-upload-pack\n0000" + refs, "advertisement")


def upload_pack(request: Request, body: bytes) -> Response:
    """POST /{id}/git-upload-pack: the objects that the client lacks; they pass through memory."""
    repo = _readable(request)
    wants = _inflated(body) if request.headers.get("content-encoding") == "gzip" else body
    try:
        pack = repo.git.run("upload-pack", "--stateless-rpc", ".", feed=wants)
    except GitFailed as error:
        if not repo.exists:
            raise
        raise HubProblem(400, f"git refuses this request: {error}") from error
    return _answer(pack, "result")


# With .git first: a name may not end so, but {name} would match it.
routes = [
    route
    for base in ("/{namespace}/{name}.git", "/{namespace}/{name}")
    for route in (
        Route(f"{base}/info/refs", advertise),
        Route(f"{base}/{_SERVICE}", with_body(upload_pack), methods=["POST"]),
    )
]
