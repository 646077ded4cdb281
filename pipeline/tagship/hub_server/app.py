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

from tagship.hub_server import (
    routes_access,
    routes_collections,
    routes_discussions,
    routes_exchange,
    routes_git,
    routes_home,
    routes_large_files,
    routes_lfs,
    routes_listing,
    routes_pages,
    routes_reading,
    routes_repos,
    routes_users,
    routes_writing,
    routes_xet,
)
from tagship.hub_server.backend import Backend, backend, moved
from tagship.hub_server.directory import Directory, Role
from tagship.hub_server.git import GitFailed
from tagship.hub_server.git_reader import READERS
from tagship.hub_server.guard import Guard
from tagship.hub_server.hosts import LOOPBACK_HOSTS, Hosts
from tagship.hub_server.problem import HubProblem, disk_problem, respond
from tagship.hub_server.request_ids import RequestIds
from tagship.hub_server.routes_missing import no_such_route
from tagship.system.errors import ReleaseError, UsageError

__all__ = ["EmbeddedHub", "Role", "create_app", "serve"]

_START_SECONDS = 20
_STOP_SECONDS = 5
_BACKLOG = 2048
# Longer than clients keep an idle connection (the Hub's: 5 seconds), or they would now and then send into a closed one.
_IDLE_SECONDS = 75
_ALL_ADDRESSES = ("0.0.0.0", "::")
# huggingface.co's own.
_PAGE_SIZE = 1000


def _git_failed(request: Request, problem: Exception) -> Response:
    """The answer if a repository was moved or deleted while the request worked on it: as if it were gone before."""
    if "name" in request.path_params:
        try:
            repo = backend(request).readable(request)
        except HubProblem as gone:
            return respond(request, gone)
        if str(problem).startswith("not a git repository"):  # our own words; git begins with `fatal:`
            # It was moved away and back: clients repeat the request where this leads, which is here.
            return respond(request, moved(request, repo.id))
    raise problem


def _gone(request: Request, problem: Exception) -> Response:
    """What nobody gets: the client went away in the middle of its request."""
    return Response(status_code=400)


def create_app(root: Path, *, directory: Directory, hosts: Hosts, page_size: int = _PAGE_SIZE) -> Starlette:
    """The Hub under the folder `root` as an ASGI application.

    `directory` says who there is and who may do what, `hosts` by which names it may be called. `page_size` is how many
    repositories a page of a list has at the most.
    """
    app = Starlette(
        # LFS and git go first: in `/{namespace}/{name}`, a name may not end in .git but would match.
        routes=[
            *routes_lfs.routes,
            *routes_git.routes,
            *routes_xet.routes,
            *routes_reading.routes,
            *routes_writing.routes,
            *routes_listing.routes,
            *routes_repos.routes,
            *routes_users.routes,
            *routes_exchange.routes,
            *routes_discussions.routes,
            *routes_access.routes,
            *routes_large_files.routes,
            *routes_collections.routes,
            *routes_pages.routes,
            *routes_home.routes,
        ],
        middleware=[Middleware(RequestIds), Middleware(Guard, hosts=hosts)],
        exception_handlers={
            HubProblem: respond,
            OSError: disk_problem,
            GitFailed: _git_failed,
            HTTPException: no_such_route,
            ClientDisconnect: _gone,
        },
    )
    app.router.redirect_slashes = False
    app.state.backend = Backend.of_root(root.absolute(), directory=directory, page_size=page_size)
    return app


def _check_host(host: str, directory: Directory) -> None:
    """Raises UsageError if others than this machine's users could reach a Hub where everybody may do everything."""
    if host not in LOOPBACK_HOSTS and directory.everybody is not None:
        raise UsageError(
            f"without users and tokens, the embedded Hub listens on loopback only, not on {host!r}",
            remedy=f"use one of {', '.join(LOOPBACK_HOSTS)}, or --auth with a file of users and tokens",
        )


def _bind(host: str, port: int) -> socket.socket:
    """A listening address, so that there is no other server there by the time we start."""
    # With the protocol said: asyncio sends small answers at once (TCP_NODELAY) only where it knows that this is TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)  # so that who was told the address can connect before the server is under way
    except (OSError, UnicodeError, OverflowError) as error:  # the last two of what is no name and no port at all
        bound.close()
        raise ReleaseError(
            f"the embedded Hub cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            remedy="choose another port (--port 8766), or any that is free (--port 0); the Hub of another project does "
            "not have what this one published",
        ) from error
    return bound


def _url(host: str, bound: socket.socket) -> str:
    name = socket.gethostname() if host in _ALL_ADDRESSES else host
    return f"http://{f'[{name}]' if ':' in name else name}:{bound.getsockname()[1]}"


def _server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_STOP_SECONDS,
            timeout_keep_alive=_IDLE_SECONDS,
        )
    )


class EmbeddedHub:
    """A Hub in this process, for as long as the `with` block runs; its state stays under `root`.

    `port` 0 takes any free one. Users and tokens are those of `directory`; without one, `namespace` is the only user,
    `tokens` says what each token allows, and None lets everybody read and write. Raises UsageError if `host` is not
    loopback then, ReleaseError if the port is taken.
    """

    def __init__(
        self,
        *,
        root: Path,
        namespace: str = "acme",
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, Role] | None = None,
        directory: Directory | None = None,
        page_size: int = _PAGE_SIZE,
    ) -> None:
        self._root = root.absolute()
        directory = directory or Directory.of_tokens(namespace, tokens)
        _check_host(host, directory)
        hosts = Hosts.of(host, directory.names)
        self._app = create_app(root, directory=directory, hosts=hosts, page_size=page_size)
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
    directory: Directory | None = None,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve in the foreground until Ctrl-C; `announce` is called with the URL before that.

    Without a `directory` everybody may read and write. Raises UsageError if `host` is not loopback then, ReleaseError
    if the port is taken.
    """
    directory = directory or Directory.of_tokens(namespace, None)
    _check_host(host, directory)
    app = create_app(root, directory=directory, hosts=Hosts.of(host, directory.names))
    bound = _bind(host, port)
    try:
        announce(_url(host, bound))
        _server(app).run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        bound.close()
        READERS.close(root.absolute())
