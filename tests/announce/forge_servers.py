"""Servers that keep releases as GitHub's and GitLab's REST do, on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct, field

Answer = tuple[int, Any]


class Forge(Struct, kw_only=True, dict=True):
    """What a server has: the tags that were pushed, releases by tag, and what was asked of it. `refuses` is what it
    answers everything with, while that is set."""

    tags: set[str] = field(default_factory=set)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    refuses: Answer | None = None
    token: str = "secret"
    url: str = ""


def github(forge: Forge, method: str, path: str, document: Any) -> Answer:
    """https://docs.github.com/en/rest/releases/releases, of the repository acme/it."""
    below = path.removeprefix("/repos/acme/it")
    if below == path:
        return 404, {"message": "Not Found"}
    if below == "":
        return 200, {"full_name": "acme/it"}
    if below.startswith("/git/ref/tags/"):
        tag = below.removeprefix("/git/ref/tags/")
        return (200, {"ref": f"refs/tags/{tag}"}) if tag in forge.tags else (404, {"message": "Not Found"})
    if below.startswith("/releases/tags/"):
        found = forge.releases.get(below.removeprefix("/releases/tags/"))
        return (200, found) if found else (404, {"message": "Not Found"})
    if (method, below) == ("POST", "/releases"):
        if document["tag_name"] in forge.releases:
            errors = [{"resource": "Release", "code": "already_exists", "field": "tag_name"}]
            return 422, {"message": "Validation Failed", "errors": errors}
        number = len(forge.releases) + 1
        page = f"https://github.com/acme/it/releases/tag/{document['tag_name']}"
        forge.releases[document["tag_name"]] = {**document, "id": number, "html_url": page}
        return 201, forge.releases[document["tag_name"]]
    if method == "PATCH":
        found = next(each for each in forge.releases.values() if below == f"/releases/{each['id']}")
        found.update(document)
        return 200, found
    return 405, {"message": "Method Not Allowed"}


def gitlab(forge: Forge, method: str, path: str, document: Any) -> Answer:
    """https://docs.gitlab.com/api/releases/, of the project acme/group/it."""
    below = path.removeprefix("/projects/acme%2Fgroup%2Fit/releases")
    if below == path:
        return 404, {"message": "404 Project Not Found"}
    tag = unquote(below.lstrip("/"))
    if method == "GET" and not tag:
        return 200, list(forge.releases.values())
    if method == "GET":
        return (200, forge.releases[tag]) if tag in forge.releases else (404, {"message": "404 Not Found"})
    if method == "POST":
        tag = document["tag_name"]
        if tag in forge.releases:
            return 409, {"message": "Release already exists"}
        if tag not in forge.tags:
            return 422, {"message": "Ref is not specified"}
        forge.releases[tag] = {**document, "_links": {"self": f"https://gitlab.com/acme/group/it/-/releases/{tag}"}}
        return 201, forge.releases[tag]
    if method == "PUT":
        forge.releases[tag].update(document)
        return 200, forge.releases[tag]
    return 405, {"message": "Method Not Allowed"}


def hook(forge: Forge, method: str, path: str, document: Any) -> Answer:
    """Takes whatever comes."""
    return 204, None


@contextmanager
def serving(answers: Callable[[Forge, str, str, Any], Answer], forge: Forge) -> Iterator[Forge]:
    """The server of a forge, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            forge.asked.append((self.command, path))
            forge.headers.append({name.lower(): value for name, value in self.headers.items()})
            forge.bodies.append(body)
            code, document = forge.refuses or answers(forge, self.command, path, json.loads(body) if body else None)
            said = b"" if document is None else json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    forge.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
