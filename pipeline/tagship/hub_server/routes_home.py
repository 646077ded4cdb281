"""Pages of the Hub: all repositories, those of a namespace, a collection; logging in."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend, param
from tagship.hub_server.directory import Right
from tagship.hub_server.kinds import Kind
from tagship.hub_server.pages import html_page
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo, unless_gone
from tagship.hub_server.routes_collections import shape_of

_MOST_REPOS = 500


def _found(request: Request, kind: Kind, search: str) -> list[Repo]:
    hub = backend(request)
    caller = hub.access.caller(request)
    return [
        repo
        for repo in hub.stores[kind].all()
        if search.lower() in repo.id.lower()
        and unless_gone(repo, lambda repo: hub.access.may(caller, repo, Right.READ))
    ]


def _row(repo: Repo) -> dict[str, Any]:
    return {"page": repo.page, "id": repo.id, "private": repo.private, "gated": repo.gated}


def _listing(request: Request, title: str, search: str) -> Response:
    lists = []
    for kind in Kind:
        found = _found(request, kind, search)
        rows = [row for repo in found[:_MOST_REPOS] if (row := unless_gone(repo, _row))]
        lists.append((kind.plural, rows, max(len(found) - _MOST_REPOS, 0)))
    return html_page(request, "home.html", title=title, search=search, lists=lists)


def home(request: Request) -> Response:
    """GET /?search="""
    return _listing(request, "Embedded Hub", request.query_params.get("search", ""))


def namespace(request: Request) -> Response:
    """GET /{namespace}: what a user or organization has."""
    name = param(request, "namespace")
    response = _listing(request, name, request.query_params.get("search", f"{name}/"))
    directory = backend(request).access.directory
    if name not in (*directory.users, *directory.organizations) and not any(
        repo.namespace == name for kind in Kind for repo in _found(request, kind, f"{name}/")
    ):
        raise HubProblem(404, f"There is no user or organization {name!r}")
    return response


def login(request: Request) -> Response:
    """GET /login: the browser asks for user and token, and sends them from then on."""
    if backend(request).access.caller(request) is None:
        headers = {"WWW-Authenticate": 'Basic realm="Hub"'}
        raise HubProblem(401, "Log in with any user name, and a token as the password", headers=headers)
    return RedirectResponse("/", 303)


def collection_page(request: Request) -> Response:
    """GET /collections/{slug}."""
    shape = shape_of(request)
    prefixes = {"model": "/", "dataset": "/datasets/", "collection": "/collections/"}
    items = [{**item, "href": f"{prefixes[item['type']]}{item.get('slug', item['id'])}"} for item in shape["items"]]
    values = {"description": shape["description"], "items": items}
    return html_page(request, "collection.html", title=shape["title"], **values)


routes = [
    Route("/", home),
    Route("/login", login),
    Route("/collections/{namespace}/{slug}", collection_page),
    # After all others: it would match them.
    Route("/{namespace}", namespace),
]
