"""The lists of models and datasets: filtered, in order, a page at a time."""

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import Backend, backend, base_url
from tagship.hub_server.directory import Right
from tagship.hub_server.filters import Shape, check_query, filtered, needs_shapes, ordered
from tagship.hub_server.kinds import Kind, kind_of
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo, unless_gone
from tagship.hub_server.shapes import flag, only, wanted_fields
from tagship.hub_server.summaries import summary
from tagship.hub_server.weights import with_weights

# What huggingface.co lists of each model or dataset, and what `full`, `cardData` and `config` add to it.
_BRIEF = {
    Kind.MODEL: ("likes", "downloads", "private", "tags", "library_name", "pipeline_tag", "createdAt"),
    Kind.DATASET: ("author", "likes", "downloads", "private", "tags", "createdAt", "lastModified", "gated", "sha"),
}
_FULL = {
    Kind.MODEL: ("author", "sha", "lastModified", "gated", "disabled", "siblings"),
    Kind.DATASET: ("disabled", "siblings", "cardData"),
}
# What it takes a look into the weights to say.
_OF_WEIGHTS = {"safetensors", "gguf"}

_LIMIT_DIGITS = 9


def _limit(query: QueryParams, most: int) -> int:
    limit = query.get("limit", str(most))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _LIMIT_DIGITS):
        raise HubProblem(400, f"limit must be a number, not {limit!r:.40}")
    return min(max(int(limit), 1), most)


def _fields(query: QueryParams, kind: Kind) -> list[str]:
    full = _FULL[kind] if flag(query.get("full")) else ()
    card = ("cardData",) if flag(query.get("cardData")) else ()
    config = ("config",) if flag(query.get("config")) else ()
    sort = [query["sort"]] if "sort" in query else []
    return wanted_fields(query, kind) or [*_BRIEF[kind], *full, *card, *config, *sort]


def _shape(repo: Repo, scratch: Path) -> dict[str, Any]:
    return summary(repo, scratch=scratch) | {"likes": len(repo.record("likes").read())}


def _matching(hub: Backend, request: Request) -> list[Repo]:
    """The repositories of the asked names that may be seen, sorted by name."""
    query, caller = request.query_params, hub.access.caller(request)
    author, search = query.get("author", "").lower(), query.get("search", "").lower()
    return [
        repo
        for repo in hub.stores[kind_of(request)].all()
        if author in ("", repo.namespace.lower())
        and search in repo.id.lower()
        and unless_gone(repo, lambda repo: hub.access.may(caller, repo, Right.READ))
    ]


def _after(cursor: str) -> tuple[str, str]:
    """The last name of the page before: what comes or goes shifts nothing."""
    namespace, _, name = cursor.partition("/")
    return namespace, name


def _listed(hub: Backend, request: Request, limit: int) -> tuple[list[Shape], str | None]:
    """A page of the list, and the cursor of the next one if there is one."""
    query, repos, cursor = request.query_params, _matching(hub, request), request.query_params.get("cursor", "")
    weights = _OF_WEIGHTS & {*query.getlist("expand"), *query.getlist("expand[]")} or "num_parameters" in query

    brief = partial(_shape, scratch=hub.scratch)

    def full(repo: Repo) -> Shape:
        return with_weights(request, repo, brief(repo))

    def look(some: list[Repo]) -> list[Shape]:
        return [shape for repo in some if (shape := unless_gone(repo, full if weights else brief))]

    if not needs_shapes(query):
        following = [repo for repo in repos if (repo.namespace, repo.name) > _after(cursor)]
        page = following[:limit]
        return look(page), page[-1].id if len(following) > limit else None
    # By anything else than the name there is no place that stays: the cursor is how many came before.
    start = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 9 else 0
    shapes = ordered(filtered(look(repos), query), query)
    return shapes[start : start + limit], str(start + limit) if len(shapes) > start + limit else None


def list_repos(request: Request) -> Response:
    """GET /api/models and /api/datasets, with the parameters of huggingface.co; sorted by name, or by `sort`.

    A `Link` header leads to the next page, as long as there is one.
    """
    query, hub, kind = request.query_params, backend(request), kind_of(request)
    check_query(query, kind)
    limit, fields = _limit(query, hub.page_size), _fields(query, kind)
    shapes, cursor = _listed(hub, request, limit)
    headers = {}
    if cursor is not None:
        following = [item for item in query.multi_items() if item[0] != "cursor"] + [("cursor", cursor)]
        headers["Link"] = f'<{base_url(request)}/api/{kind.plural}?{urlencode(following)}>; rel="next"'
    return JSONResponse([only(dict(shape), fields) for shape in shapes], headers=headers)


routes = [Route("/api/{plural:plural}", list_repos)]
