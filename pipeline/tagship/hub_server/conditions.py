"""Requests that depend on what the client has: If-None-Match and If-Range (RFC 9110, section 13)."""

from starlette.requests import Request
from starlette.responses import Response


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """A 304 if the client has this ETag, or names any (`*`)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return None
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    if "*" not in tags and headers["ETag"] not in tags:
        return None
    return Response(status_code=304, headers=headers)


def range_holds(request: Request, headers: dict[str, str]) -> bool:
    """Whether the range that is asked for is of this very file: If-Range names another ETag otherwise.

    A date is never taken for a match: a file here has none.
    """
    given = request.headers.get("if-range")
    return given is None or given == headers.get("ETag")
