"""Request bodies, brought to where blocking code in a thread can work on them."""

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tagship.hub_server.backend import backend
from tagship.hub_server.blobs import BLOCK_BYTES, fresh_file
from tagship.hub_server.bounded import OutOfBounds, parse_json
from tagship.hub_server.problem import HubProblem

MAX_JSON_BYTES = 64_000_000

Endpoint = Callable[[Request], Awaitable[Response]]


class Upload(Struct, frozen=True, kw_only=True):
    """A request's body in a file, which is gone after the request unless it was renamed away."""

    path: Path
    size: int
    sha256: str


def listed(data: dict[str, Any], key: str) -> list[Any]:
    """The list in a JSON object, empty if it is not there. Raises HubProblem (400) if it is something else."""
    found = data.get(key, [])
    if not isinstance(found, list):
        raise HubProblem(400, f"{key} must be a list")
    return found


def text(data: dict[str, Any], key: str) -> str | None:
    """The text in a JSON object, None if it is not there. Raises HubProblem (400) if it is something else."""
    found = data.get(key)
    if not isinstance(found, str | None):
        raise HubProblem(400, f"{key} must be a text")
    return found


def changing(handler: Callable[[Request], Response]) -> Endpoint:
    """An endpoint that calls `handler` in a thread, while the store is not copied or cleaned up."""

    async def endpoint(request: Request) -> Response:
        async with backend(request).lock.shared():
            return await run_in_threadpool(handler, request)

    return endpoint


def with_body(handler: Callable[[Request, bytes], Response], *, changes: bool = False) -> Endpoint:
    """An endpoint that calls `handler` in a thread, with a body that is small enough for memory.

    One that `changes` something waits while the store is copied or cleaned up.
    """

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_JSON_BYTES:
                raise HubProblem(413, "The request is too large")
        async with backend(request).lock.shared() if changes else nullcontext():
            return await run_in_threadpool(handler, request, bytes(body))

    return endpoint


def with_json(handler: Callable[[Request, dict[str, Any]], Response]) -> Endpoint:
    """An endpoint that calls `handler` in a thread, with the JSON object that is the body, to change something."""

    def parse(request: Request, body: bytes) -> Response:
        try:
            data = parse_json(body or b"{}")
        except OutOfBounds as error:
            raise HubProblem(400, f"The body is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise HubProblem(400, "The body is not a JSON object")
        return handler(request, data)

    return with_body(parse, changes=True)


def with_upload(
    handler: Callable[[Request, Upload], Response],
    *,
    check: Callable[[Request], object],
    most: int | None = None,
) -> Endpoint:
    """An endpoint that streams the body, of `most` bytes, into a file, then calls `handler` in a thread.

    `check` may refuse before anything is written, by raising HubProblem.
    """

    async def endpoint(request: Request) -> Response:
        await run_in_threadpool(check, request)
        with ExitStack() as stack:
            path = stack.enter_context(fresh_file(backend(request).scratch))
            file = stack.enter_context(path.open("wb"))
            digest, size, pending = hashlib.sha256(), 0, bytearray()

            def flush() -> None:
                digest.update(pending)
                file.write(pending)

            async for chunk in request.stream():
                size += len(chunk)
                if most is not None and size > most:
                    raise HubProblem(413, "The request is too large")
                pending += chunk
                if len(pending) >= BLOCK_BYTES:
                    await run_in_threadpool(flush)
                    pending.clear()
            await run_in_threadpool(flush)
            await run_in_threadpool(file.close)
            upload = Upload(path=path, size=size, sha256=digest.hexdigest())
            async with backend(request).lock.shared():
                return await run_in_threadpool(handler, request, upload)

    return endpoint
