"""The REST APIs of GitHub and GitLab: where they are, how one is let in, and what they answer."""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from msgspec import Struct, field

_SECONDS = 10
# More than any answer has that is read here.
_MOST_BYTES = 32 << 20
_TOKENS = ("Authorization", "PRIVATE-TOKEN", "JOB-TOKEN")

Environment = Callable[[str], str | None]


class Api(Struct, frozen=True, kw_only=True):
    """The API of one repository: the address that all of its own begin with, and the headers that let one in."""

    root: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(root={self.root!r})"  # headers have tokens

    @property
    def host(self) -> str:
        return urlsplit(self.root).hostname or ""

    @property
    def has_token(self) -> bool:
        return any(name in self.headers for name in _TOKENS)


class Answer(Struct, frozen=True, kw_only=True):
    """What a server said: the status, and the document, None where it sent none that is JSON."""

    code: int
    document: Any = None


class Unreached(Exception):
    """A server does not answer; the message says why."""


def github_api(web: str, environment: Environment) -> Api:
    """GitHub's API of the repository whose page is `web`, with a token only where that is its host's."""
    host, path = urlsplit(web).hostname or "", urlsplit(web).path.strip("/")
    default = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
    ours = {"github.com", urlsplit(environment("GITHUB_SERVER_URL") or "").hostname, environment("GH_HOST")}
    token = (environment("GITHUB_TOKEN") or environment("GH_TOKEN")) if host in ours else None
    headers = {"Accept": "application/vnd.github+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return Api(root=f"{environment('GITHUB_API_URL') or default}/repos/{quote(path)}", headers=headers)


def gitlab_api(web: str, environment: Environment) -> Api:
    """GitLab's API of the project whose page is `web`."""
    host, path = urlsplit(web).hostname or "", urlsplit(web).path.strip("/")
    token, job = environment("GITLAB_TOKEN"), environment("CI_JOB_TOKEN")
    headers = {"PRIVATE-TOKEN": token} if token else {"JOB-TOKEN": job} if job else {}
    root = environment("CI_API_V4_URL") or f"https://{host}/api/v4"
    return Api(root=f"{root}/projects/{quote(path, safe='')}", headers=headers)


def ask(api: Api, path: str, *, method: str = "GET", document: Any = None) -> Answer:
    """What an API answers, also where it refuses. Raises Unreached."""
    body = None if document is None else json.dumps(document).encode()
    return send(Request(f"{api.root}{path}", data=body, headers={**api.headers, **_of(body)}, method=method))


def send(request: Request) -> Answer:
    """The answer to a request. No token is taken to another host. Raises Unreached."""
    try:
        with build_opener(_SameHost).open(request, timeout=_SECONDS) as response:
            return Answer(code=response.status, document=_parsed(response.read(_MOST_BYTES)))
    except HTTPError as error:
        with error:
            return Answer(code=error.code, document=_parsed(error.read(_MOST_BYTES)))
    except (OSError, HTTPException, ValueError) as error:
        raise Unreached(str(getattr(error, "reason", error))) from None


def _of(body: bytes | None) -> dict[str, str]:
    return {} if body is None else {"Content-Type": "application/json"}


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


class _SameHost(HTTPRedirectHandler):
    """Follows to where a repository was moved, and takes no token to another host."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)
