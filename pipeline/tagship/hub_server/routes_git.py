"""`git clone`, `fetch` and `push` over HTTP; what git holds of a large file is its LFS pointer.

https://git-scm.com/docs/http-protocol. What is refused is answered in plain text, which git prints.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.kinds import WEB
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.pushing import MAX_PUSH_BYTES, advertisement, receive
from tagship.hub_server.receiving import MAX_JSON_BYTES, Upload, with_body, with_upload
from tagship.hub_server.repos import Repo
from tagship.hub_server.sending import stream
from tagship.hub_server.summaries import refresh

_UPLOAD, _RECEIVE = "git-upload-pack", "git-receive-pack"
_NO_CACHE = {"Cache-Control": "no-cache"}
# Partial clones; a client that has left out a file asks for it by its id.
_FETCH = ("-c", "uploadpack.allowFilter=true", "-c", "uploadpack.allowAnySHA1InWant=true")
_VERSION = re.compile(r"version=[0-9]", re.ASCII)


def _in_words(handler: Callable[..., Response]) -> Callable[..., Response]:
    """The handler with its refusals in plain text."""

    @wraps(handler)
    def answer(request: Request, *body: object) -> Response:
        try:
            return handler(request, *body)
        except HubProblem as problem:
            if problem.status in (301, 307, 308):
                raise
            return PlainTextResponse(f"{problem.message}\n", status_code=problem.status, headers=problem.headers)

    return answer


@contextmanager
def asking_for_a_password(request: Request) -> Iterator[None]:
    """Turns what the API says to one without a token, 404 for what is private, into 401.

    Git and git-lfs ask for a user and password (any user, and the token) only after that.
    """
    try:
        yield
    except HubProblem as problem:
        if problem.status == 401 or (problem.status == 404 and backend(request).access.role(request) is None):
            problem.status = 401
            problem.headers["WWW-Authenticate"] = 'Basic realm="Hub"'
        raise


def _readable(request: Request) -> Repo:
    with asking_for_a_password(request):
        return backend(request).opened(request)


def _writable(request: Request) -> Repo:
    with asking_for_a_password(request):
        return backend(request).writable(request)


def _speaking(git: Git, request: Request) -> Git:
    """Git in the version of the protocol that the client asks for."""
    asked = request.headers.get("git-protocol", "")
    return replace(git, variables=(("GIT_PROTOCOL", asked),)) if _VERSION.fullmatch(asked) else git


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


@_in_words
def advertise(request: Request) -> Response:
    """GET /{id}/info/refs?service=: every ref and its object, or what else the client may ask for."""
    service = request.query_params.get("service")
    if service == _UPLOAD:
        git = _speaking(_readable(request).git, request)
        refs = git.run(*_FETCH, "upload-pack", "--stateless-rpc", "--advertise-refs", ".")
    elif service == _RECEIVE:
        refs = advertisement(_writable(request))
    else:
        raise HubProblem(403, "The embedded Hub speaks git's smart protocol only")
    head = f"# service={service}\n"
    body = f"{len(head) + 4:04x}{head}0000".encode() + refs
    return Response(body, media_type=f"application/x-{service}-advertisement", headers=_NO_CACHE)


@_in_words
def upload_pack(request: Request, body: bytes) -> Response:
    """POST /{id}/git-upload-pack: the objects that the client lacks, as git finds them."""
    repo = _readable(request)
    wants = _inflated(body) if request.headers.get("content-encoding") == "gzip" else body
    answer = _speaking(repo.git, request).stream(*_FETCH, "upload-pack", "--stateless-rpc", ".", feed=wants)
    try:
        first = next(answer, b"")
    except GitFailed as error:
        if not repo.exists:
            raise
        raise HubProblem(400, f"git refuses this request: {error}") from error
    return stream(first, answer, media_type=f"application/x-{_UPLOAD}-result", headers=_NO_CACHE)


@_in_words
def receive_pack(request: Request, upload: Upload) -> Response:
    """POST /{id}/git-receive-pack: commits, taken if the Hub takes all that is in them."""
    hub, repo = backend(request), _writable(request)
    result = receive(repo, upload.path, files=hub.files, scratch=hub.scratch)
    refresh(repo, scratch=hub.scratch)
    return Response(result, media_type=f"application/x-{_RECEIVE}-result", headers=_NO_CACHE)


# With .git first: a name may not end so, but {name} would match it.
routes = [
    route
    for base in (f"{WEB}.git", WEB)
    for route in (
        Route(f"{base}/info/refs", advertise),
        Route(f"{base}/{_UPLOAD}", with_body(upload_pack), methods=["POST"]),
        Route(f"{base}/{_RECEIVE}", with_upload(receive_pack, check=_writable, most=MAX_PUSH_BYTES), methods=["POST"]),
    )
]
