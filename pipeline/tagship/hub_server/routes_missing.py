"""What is asked for and is not here, in the codes that clients know: other kinds of repositories, ids without a
namespace, unknown addresses."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tagship.hub_server.kinds import Kind
from tagship.hub_server.problem import HubProblem, repo_not_found, respond

_OTHER_KINDS = ("spaces", "kernels", "buckets")


def no_such_route(request: Request, problem: Exception) -> Response:
    """The answer to a request that no route takes."""
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return respond(request, _problem(request, status))


def _problem(request: Request, status: int) -> HubProblem:
    parts = [part for part in request.url.path.split("/") if part]
    api = parts[:1] == ["api"]
    rest = parts[1:] if api else parts
    # `/api/models/gpt2/like` looks like the model `like` of `gpt2`, which can only be read.
    if status == 405 and api and len(rest) == 3 and rest[0] in [kind.plural for kind in Kind]:
        return repo_not_found()
    if status != 404:
        return HubProblem(status, f"The embedded Hub does not know {request.method} {request.url.path}")
    if rest[:1] and rest[0] in _OTHER_KINDS:
        return HubProblem(404, f"The embedded Hub holds models and datasets, and no {rest[0]}", code="RepoNotFound")
    plurals = [kind.plural for kind in Kind]
    if len(rest) > 1 and rest[0] in plurals and (len(rest) == 2 or api):
        return repo_not_found()
    # As of old, when the Hub had models without a namespace: gpt2/resolve/main/config.json.
    if not api and len(rest) > 2 and rest[1] in ("resolve", "raw", "info"):
        return repo_not_found()
    return HubProblem(404, f"The embedded Hub does not know {request.method} {request.url.path}")
