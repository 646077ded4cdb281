"""The list of models: by namespace or a part of the name, a page at a time."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import Backend, backend, base_url
from tagship.hub_server.git import GitFailed
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo
from tagship.hub_server.shapes import flag, only, wanted_fields
from tagship.hub_server.summaries import summary

# What huggingface.co lists of each model, and what `full` and `cardData` add to it.
_BRIEF = (*("likes", "downloads", "private", "tags", "library_name", "pipeline_tag", "createdAt"),)
_FULL = (*("author", "sha", "lastModified", "gated", "disabled", "siblings"),)

_LIMIT_DIGITS = 9

T = TypeVar("T")


def _limit(query: QueryParams, most: int) -> int:
    limit = query.get("limit", str(most))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _LIMIT_DIGITS):
        raise HubProblem(400, f"limit must be a number, not {limit!r:.40}")
    return min(max(int(limit), 1), most)


def _fields(query: QueryParams) -> list[str]:
    full = _FULL if flag(query.get("full")) else ()
    card = ("cardData",) if flag(query.get("cardData")) else ()
    return wanted_fields(query) or [*_BRIEF, *full, *card]


def _unless_gone(repo: Repo, look: Callable[[Repo], T]) -> T | None:
    """What `look` finds; None if the repository was moved or deleted while it looked."""
    try:
        return look(repo)
    except (GitFailed, HubProblem):
        if repo.exists:
            raise
        return None


def _public(repo: Repo) -> bool:
    return not repo.private


def _matching(hub: Backend, request: Request) -> list[Repo]:
    """The repositories that were asked for and may be seen, from the cursor on."""
    query, role = request.query_params, hub.access.role(request)
    author, search = query.get("author"), query.get("search", "").lower()
    # The cursor is the last name of the page before, so that what comes or goes shifts nothing.
    namespace, _, name = query.get("cursor", "").partition("/")
    return [
        repo
        for repo in hub.repos.all()
        if (repo.namespace, repo.name) > (namespace, name)
        and author in (None, repo.namespace)
        and search in repo.id.lower()
        and (role or _unless_gone(repo, _public))
    ]


def list_models(request: Request) -> Response:
    """GET /api/models?author=&search=&limit=&full=&cardData=&expand=, sorted by name.

    A `Link` header leads to the next page, as long as there is one. The other filters and orders
    of huggingface.co are not known here.
    """
    query = request.query_params
    hub = backend(request)
    limit, fields = _limit(query, hub.page_size), _fields(query)
    matching = _matching(hub, request)
    page = matching[:limit]
    shapes = [
        only(shape, fields) for repo in page if (shape := _unless_gone(repo, partial(summary, scratch=hub.scratch)))
    ]
    headers = {}
    if len(matching) > limit:
        following = [item for item in query.multi_items() if item[0] != "cursor"] + [("cursor", page[-1].id)]
        headers["Link"] = f'<{base_url(request)}/api/models?{urlencode(following)}>; rel="next"'
    return JSONResponse(shapes, headers=headers)


routes = [Route("/api/models", list_models)]
