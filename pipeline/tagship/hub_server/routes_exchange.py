"""A job's identity for a token: what the Hub calls trusted publishers, by RFC 8693."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.backend import backend, base_url
from tagship.hub_server.bounded import OutOfBounds, parse_json
from tagship.hub_server.exchange import NotTrusted
from tagship.hub_server.receiving import with_body

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
# The most that an identity has; GitHub's have 2,000 characters.
_MOST_BYTES = 64_000


def _refused(code: str, why: str) -> Response:
    """An error as RFC 6749 has it, and in the words that the Hub's client repeats."""
    return JSONResponse({"error": code, "error_description": why}, 400, {"X-Error-Message": f"{code}: {_line(why)}"})


def _line(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:500]


def _asked(request: Request, body: bytes) -> dict[str, Any]:
    """What is asked for: JSON from the Hub's client, a form by the standard. Raises OutOfBounds."""
    if len(body) > _MOST_BYTES:
        raise OutOfBounds(f"more than {_MOST_BYTES} bytes")
    if request.headers.get("content-type", "").startswith("application/json"):
        found = parse_json(body)
        if not isinstance(found, dict):
            raise OutOfBounds("no JSON object")
        return found
    try:
        return dict(parse_qsl(body.decode(), strict_parsing=True))
    except ValueError as error:
        raise OutOfBounds(str(error)) from error


def exchange(request: Request, body: bytes) -> Response:
    """POST /oauth/token."""
    try:
        asked = _asked(request, body)
    except OutOfBounds as error:
        return _refused("invalid_request", str(error))
    if asked.get("grant_type") != _GRANT:
        return _refused("unsupported_grant_type", f"only {_GRANT} is known here")
    if asked.get("subject_token_type") != _ID_TOKEN:
        return _refused("invalid_request", f"subject_token_type must be {_ID_TOKEN}")
    identity, resource = asked.get("subject_token"), asked.get("resource")
    if not isinstance(identity, str) or not isinstance(resource, str):
        return _refused("invalid_request", "subject_token and resource must be texts")
    try:
        token, seconds = backend(request).access.exchange.grant(identity, resource, base_url(request))
    except NotTrusted as problem:
        return _refused("invalid_grant", str(problem))
    answer = {"access_token": token, "issued_token_type": _ACCESS_TOKEN, "token_type": "bearer", "expires_in": seconds}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


routes = [Route("/oauth/token", with_body(exchange), methods=["POST"])]
