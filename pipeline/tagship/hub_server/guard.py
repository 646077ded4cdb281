"""What every request passes first."""

from contextlib import suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tagship.hub_server.problem import HubProblem, respond
from tagship.hub_server.sending import BrokenOff

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Keeps web pages out, and the path as it was sent.

    A server on loopback can be reached by every page that the user's browser shows. Pages of other
    sites are told apart by the Host header (DNS rebinding) and by Origin, which the client never
    sends. The path stays percent-encoded, because `tree/feature%2Fx/y` and `tree/feature/x/y` are
    different things; `param` in backend.py decodes its parts.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or hand over to it."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
            request = Request(scope)
            if _hostname(request) not in LOOPBACK_HOSTS:
                await respond(request, HubProblem(403, "Not a loopback host"))(scope, receive, send)
                return
            if request.method not in ("GET", "HEAD") and "origin" in request.headers:
                await respond(request, HubProblem(403, "Not for web pages"))(scope, receive, send)
                return
        # uvicorn closes the connection of an answer that was not finished.
        with suppress(BrokenOff):
            await self.app(scope, receive, send)


def _hostname(request: Request) -> str | None:
    """The host that the request names, None if it is no host."""
    try:
        return request.url.hostname
    except ValueError:
        return None
