"""Plain pages for a browser, so that the addresses that a release prints open in one.

Nothing from a repository is trusted: Jinja escapes all of it, Markdown brings no HTML of its own (markdown.py), and the
Content-Security-Policy lets a page load nothing but its style and the images of this Hub.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tagship.hub_server.backend import backend
from tagship.hub_server.times import timestamp

_FOLDER = Path(__file__).parent / "html"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"path": path_in_url, "revision": revision_in_url, "date": _date}
    return environment


@cache
def _style() -> tuple[str, str]:
    """The style, and the policy that allows it and no other."""
    style = (_FOLDER / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'"
    return style, f"{policy}; frame-ancestors 'none'"


def path_in_url(path: str) -> str:
    """A path inside a repository, as a part of an address."""
    return quote(path)


def revision_in_url(revision: str) -> str:
    """A revision as one part of an address: `refs/pr/1` as `refs%2Fpr%2F1`."""
    return quote(revision, safe="")


def _date(seconds: int) -> str:
    return timestamp(seconds)[:16].replace("T", " ")


def html_page(request: Request, template: str, *, title: str, **values: Any) -> Response:
    """The page that a template makes."""
    access = backend(request).access
    caller = access.caller(request)
    style, policy = _style()
    html = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            style=style,
            user=caller.user.name if caller else None,
            login=access.directory.everybody is None,
            **values,
        )
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"})
