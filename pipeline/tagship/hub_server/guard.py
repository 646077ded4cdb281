"""What every request passes first."""

from contextlib import suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tagship.hub_server.hosts import Hosts
from tagship.hub_server.problem import HubProblem, respond
from tagship.hub_server.sending import BrokenOff


class Guard:
    """Keeps web pages out, and the path as it was sent.

    A server near the user can be reached by every page that their browser shows. Pages of other
    sites are told apart by the Host header (DNS rebinding) and by Origin, which the client never
    sends. The path stays percent-encoded, because `tree/feature%2Fx/y` and `tree/feature/x/y` are
    different things; `param` in backend.py decodes its parts.
    """

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or hand over to it."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
            request = Request(scope)
            if not self.hosts.allows(_hostname(request)):
                await respond(request, HubProblem(403, "Not a host of this Hub"))(scope, receive, send)
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
