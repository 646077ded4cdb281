"""Requests as they are, without a client that would tidy them up."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tagship.hub_server.app import EmbeddedHub


def request(
    hub: EmbeddedHub, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body; nobody follows where it leads."""
    address = urlsplit(hub.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def ask(
    hub: EmbeddedHub, path: str, *, method: str = "GET", token: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """As `request`; a keyword `if_range` is the header If-Range."""
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    return request(hub, method, path, headers=sent)


def ask_json(hub: EmbeddedHub, path: str, *, token: str | None = None) -> Any:
    """The JSON of a GET that succeeds."""
    status, _, body = ask(hub, path, token=token)
    assert status == 200, body
    return json.loads(body)
