"""What the Hub refuses, in the words and headers that `huggingface_hub` turns into exceptions."""

import errno
import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_UNPRINTABLE = re.compile(r"[^ -~]")
_HEADER_LENGTH = 1000


class HubProblem(Exception):
    """An answer other than success.

    `code` is the Hub's X-Error-Code (`RepoNotFound`, `RevisionNotFound`, `EntryNotFound`) or None;
    `headers` are sent along, for example the X-Repo-Commit in which an entry was not found.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


def repo_not_found() -> HubProblem:
    """The 404 that becomes a RepositoryNotFoundError.

    It is the same whether there is none or the caller may not see it; the client says which one was asked for.
    """
    return HubProblem(404, "Repository not found", code="RepoNotFound")


def gated_repo(status: int, message: str) -> HubProblem:
    """The 401 or 403 that becomes a GatedRepoError."""
    return HubProblem(status, message, code="GatedRepo")


def revision_not_found(revision: str) -> HubProblem:
    """The 404 that becomes a RevisionNotFoundError."""
    return HubProblem(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HubProblem:
    """The 404 that becomes an EntryNotFoundError; the client caches it under `commit`."""
    return HubProblem(404, f"Entry not found: {path}", code="EntryNotFound", headers={"X-Repo-Commit": commit})


# What a disk answers that takes nothing more.
_FULL = {errno.ENOSPC: "full", errno.EDQUOT: "over its quota", errno.EROFS: "read-only"}


def disk_problem(request: Request, error: Exception) -> Response:
    """The 507 for a disk of the store that takes nothing more. Raises what else the system refuses."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        raise error
    return respond(request, HubProblem(507, f"The disk that this Hub keeps its files on is {_FULL[error.errno]}"))


def respond(request: Request, problem: Exception) -> Response:
    """The one place that turns a HubProblem into a response."""
    assert isinstance(problem, HubProblem)
    # A header holds a line of what can be printed; the body holds the message as it is.
    header = _UNPRINTABLE.sub("?", problem.message.partition("\n")[0])[:_HEADER_LENGTH].strip()
    headers = {"X-Error-Message": header, **problem.headers}
    if problem.code:
        headers["X-Error-Code"] = problem.code
    return JSONResponse({"error": problem.message}, status_code=problem.status, headers=headers)
