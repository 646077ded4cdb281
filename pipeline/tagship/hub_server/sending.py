"""Files as responses: HEAD, one byte range, and streams that don't hold up the other requests."""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio.to_thread
from anyio import CapacityLimiter
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tagship.hub_server.blobs import Blocks
from tagship.hub_server.conditions import range_holds
from tagship.hub_server.problem import HubProblem

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

# A stream of a Xet file waits for requests to this very server, which run in the default pool of
# threads; with threads of their own, streams can never take the last one away from those requests.
_STREAMS_AT_ONCE = 16
_streams = CapacityLimiter(_STREAMS_AT_ONCE)


_log = logging.getLogger(__name__)


class BrokenOff(Exception):
    """An answer cannot be finished: the connection ends, so that nobody takes what came for all of it."""


class Body(Struct, frozen=True, kw_only=True):
    """`size` bytes that can be read from anywhere: `read(start, end)` gives blocks, `end` exclusive."""

    size: int
    read: Callable[[int, int], Blocks]

    @classmethod
    def of(cls, data: bytes) -> "Body":
        """A body that is in memory."""

        def read(start: int, end: int) -> Blocks:
            yield data[start:end]

        return cls(size=len(data), read=read)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The `start` and (exclusive) `end` that a Range header asks for, None if it asks for everything.

    As HTTP allows, a form that we don't serve (several ranges) counts as everything.
    Raises HubProblem (416) if there is no such range.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, end = max(size - int(match[2]), 0), size
    if start >= end:
        raise HubProblem(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def send(request: Request, body: Body, headers: dict[str, str], *, media_type: str) -> Response:
    """The response to GET or HEAD for a file. Raises HubProblem (416)."""
    wanted = byte_range(request.headers.get("range"), body.size) if range_holds(request, headers) else None
    start, end = wanted or (0, body.size)
    headers = {
        **headers,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "X-Content-Type-Options": "nosniff",
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{body.size}"
    status = 206 if wanted else 200
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(
        _in_threads(body.read(start, end)), status_code=status, headers=headers, media_type=media_type
    )


def stream(first: bytes, rest: Blocks, *, media_type: str, headers: dict[str, str]) -> Response:
    """A response of unknown length: a block that is here, and those that are to come."""

    async def blocks() -> AsyncIterator[bytes]:
        yield first
        async for block in _in_threads(rest):
            yield block

    return StreamingResponse(blocks(), media_type=media_type, headers=headers)


async def _in_threads(blocks: Blocks) -> AsyncIterator[bytes]:
    try:
        while (block := await anyio.to_thread.run_sync(next, blocks, None, limiter=_streams)) is not None:
            yield block
    except (OSError, RuntimeError) as error:  # hf_xet raises RuntimeError
        _log.error("a download was broken off: %s", error)
        raise BrokenOff from error
    finally:
        # When the server is stopped a thread may still be inside; it closes what it reads by itself.
        with suppress(ValueError):
            blocks.close()
