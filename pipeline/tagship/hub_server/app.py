"""The embedded Hub: a loopback server for the unchanged `huggingface_hub` client.

`with EmbeddedHub(root=Path("hub")) as hub: HfApi(endpoint=hub.url).create_repo("acme/model")`
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tagship.hub_server import routes_git, routes_lfs, routes_listing, routes_reading, routes_writing, routes_xet
from tagship.hub_server.access import Role
from tagship.hub_server.backend import Backend, backend
from tagship.hub_server.git import GitFailed
from tagship.hub_server.git_reader import READERS
from tagship.hub_server.guard import LOOPBACK_HOSTS, Guard
from tagship.hub_server.problem import HubProblem, disk_problem, respond
from tagship.system.errors import ReleaseError, UsageError

__all__ = ["EmbeddedHub", "Role", "create_app", "serve"]

_START_SECONDS = 20
_STOP_SECONDS = 5
_BACKLOG = 2048
# huggingface.co's own.
_PAGE_SIZE = 1000


def _no_such_route(request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    message = f"The embedded Hub does not know {request.method} {request.url.path}"
    return respond(request, HubProblem(status, message))


def _git_failed(request: Request, problem: Exception) -> Response:
    """The answer if a repository was moved or deleted while the request worked on it: as if it were gone before."""
    if "namespace" in request.path_params:
        try:
            backend(request).readable(request)
        except HubProblem as gone:
            return respond(request, gone)
    raise problem


def _gone(request: Request, problem: Exception) -> Response:
    """What nobody gets: the client went away in the middle of its request."""
    return Response(status_code=400)


def create_app(
    root: Path, *, namespace: str, tokens: Mapping[str, Role] | None, page_size: int = _PAGE_SIZE
) -> Starlette:
    """The Hub under the folder `root` as an ASGI application.

    `namespace` is the user that `whoami` names and that owns repositories without a namespace;
    `tokens` says what each token allows, None lets everybody read and write. `page_size` is how many
    models a page of a list has at the most.
    """
    app = Starlette(
        # LFS and git go first: in `/{namespace}/{name}`, a name may not end in .git but would match.
        routes=[
            *routes_lfs.routes,
            *routes_git.routes,
            *routes_xet.routes,
            *routes_writing.routes,
            *routes_listing.routes,
            *routes_reading.routes,
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={
            HubProblem: respond,
            OSError: disk_problem,
            GitFailed: _git_failed,
            HTTPException: _no_such_route,
            ClientDisconnect: _gone,
        },
    )
    app.router.redirect_slashes = False
    app.state.backend = Backend.of_root(root.absolute(), namespace=namespace, tokens=tokens, page_size=page_size)
    return app


def _bind(host: str, port: int) -> socket.socket:
    """A listening address on loopback, so that there is no other server there by the time we start."""
    if host not in LOOPBACK_HOSTS:
        raise UsageError(
            f"the embedded Hub listens on loopback only, not on {host!r}",
            remedy=f"use one of {', '.join(LOOPBACK_HOSTS)}",
        )
    # With the protocol said: asyncio sends small answers at once (TCP_NODELAY) only where it knows that this is TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)  # so that who was told the address can connect before the server is under way
    except OSError as error:
        bound.close()
        raise ReleaseError(
            f"the embedded Hub cannot listen on {host}:{port}: {error}",
            remedy="choose another port, or 0 for any free one",
        ) from error
    return bound


def _url(host: str, bound: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"


def _server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


class EmbeddedHub:
    """A Hub in this process, for as long as the `with` block runs; its state stays under `root`.

    `port` 0 takes any free one. Raises UsageError if `host` is not loopback, ReleaseError if the
    port is taken.
    """

    def __init__(
        self,
        *,
        root: Path,
        namespace: str = "acme",
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, Role] | None = None,
        page_size: int = _PAGE_SIZE,
    ) -> None:
        self._root = root.absolute()
        self._app = create_app(root, namespace=namespace, tokens=tokens, page_size=page_size)
        self._host = host
        self._port = port
        self._running: tuple[uvicorn.Server, threading.Thread, socket.socket] | None = None

    @property
    def url(self) -> str:
        """The endpoint for `HfApi(endpoint=...)` or HF_ENDPOINT. Raises RuntimeError outside `with`."""
        if self._running is None:
            raise RuntimeError("the embedded Hub is not running")
        return _url(self._host, self._running[2])

    def __enter__(self) -> "EmbeddedHub":
        """Start to serve; when this returns, the Hub answers."""
        bound = _bind(self._host, self._port)
        server = _server(self._app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="embedded-hub", daemon=True)
        self._running = (server, thread, bound)
        thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise ReleaseError("the embedded Hub did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving; when this returns, thread and socket are gone."""
        assert self._running is not None
        server, thread, bound = self._running
        self._running = None
        server.should_exit = True
        thread.join()
        bound.close()
        READERS.close(self._root)


def serve(
    *,
    root: Path,
    namespace: str = "acme",
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Mapping[str, Role] | None = None,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve in the foreground until Ctrl-C; `announce` is called with the URL before that.

    Raises UsageError if `host` is not loopback, ReleaseError if the port is taken.
    """
    app = create_app(root, namespace=namespace, tokens=tokens)
    bound = _bind(host, port)
    try:
        announce(_url(host, bound))
        _server(app).run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        bound.close()
        READERS.close(root.absolute())
