"""The runs of CI that tags have triggered, as the forge of the repository tells them over HTTP.

GitHub: https://docs.github.com/en/rest/actions/workflow-runs; GitLab: https://docs.gitlab.com/api/pipelines/.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tagship.system.errors import ToolError

_SECONDS = 10
_NEWEST = 100

Environment = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CiRun:
    """A run that a tag has triggered: `workflow` is what runs, `status` is in the forge's own words, `started` in ISO
    format, `url` its page."""

    tag: str
    workflow: str
    status: str
    started: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question to a forge: its address, and how one is let in."""

    url: str
    headers: Mapping[str, str]
    read: Callable[[Any], Iterator[CiRun]]


def ci_runs(web: str, environment: Environment = os.environ.get) -> list[CiRun]:
    """The newest runs that tags have triggered, the newest first; `web` is the page of the repository. Raises ToolError
    that says what cannot be seen, and why."""
    asked = _asked(web, environment)
    answer = _answer(asked)
    try:
        return list(asked.read(answer))
    except (AttributeError, TypeError):
        host = urlsplit(asked.url).hostname
        raise ToolError(
            f"CI runs are not seen: {host} answers something else", remedy="see that its address is that of its API"
        ) from None


def _asked(web: str, environment: Environment) -> _Asked:
    host, path = urlsplit(web).hostname or "", urlsplit(web).path.strip("/")
    if "github" in host:
        default = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
        root = environment("GITHUB_API_URL") or default
        ours = {"github.com", urlsplit(environment("GITHUB_SERVER_URL") or "").hostname, environment("GH_HOST")}
        token = (environment("GITHUB_TOKEN") or environment("GH_TOKEN")) if host in ours else None
        headers = {"Accept": "application/vnd.github+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        url = f"{root}/repos/{quote(path)}/actions/runs?event=push&per_page={_NEWEST}"
        return _Asked(url=url, headers=headers, read=_github)
    if "gitlab" in host or environment("CI_API_V4_URL"):
        root = environment("CI_API_V4_URL") or f"https://{host}/api/v4"
        token = environment("GITLAB_TOKEN")
        job = environment("CI_JOB_TOKEN")
        headers = {"PRIVATE-TOKEN": token} if token else {"JOB-TOKEN": job} if job else {}
        url = f"{root}/projects/{quote(path, safe='')}/pipelines?scope=tags&per_page={_NEWEST}"
        return _Asked(url=url, headers=headers, read=_gitlab)
    raise ToolError(f"CI runs of {host} are not seen: only those of GitHub and GitLab are", remedy=None)


def _answer(asked: _Asked) -> Any:
    host = urlsplit(asked.url).hostname
    try:
        request = Request(asked.url, headers=dict(asked.headers))
        with build_opener(_SameHost).open(request, timeout=_SECONDS) as response:
            return json.load(response)
    except HTTPError as error:
        error.close()
        raise _refused(asked, host, error.code) from None
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        raise ToolError(f"CI runs are not seen: {host} does not answer ({why})", remedy="try again later") from None


class _SameHost(HTTPRedirectHandler):
    """Follows to where a repository was moved, and takes no token to another host."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refused(asked: _Asked, host: str | None, code: int) -> ToolError:
    has_token = asked.headers.keys() & {"Authorization", "PRIVATE-TOKEN", "JOB-TOKEN"}
    token = "the token may not read them" if has_token else "there is no token"
    why = {401: token, 403: f"{token}, or too much was asked", 404: f"there is no such repository, or {token}"}
    return ToolError(
        f"CI runs are not seen: {host} says {code}, {why.get(code, 'try again later')}",
        remedy="set GITHUB_TOKEN, or GITLAB_TOKEN, to one that may read Actions or pipelines",
    )


def _github(answer: Any) -> Iterator[CiRun]:
    """Runs of pushes: of branches as well, which the tags of the repository tell apart."""
    for run in answer.get("workflow_runs", ()):
        yield CiRun(
            tag=str(run.get("head_branch")),
            workflow=str(run.get("name")),
            status=str(run.get("conclusion") or run.get("status")),
            started=str(run.get("run_started_at") or run.get("created_at")),
            url=str(run.get("html_url")),
        )


def _gitlab(answer: Any) -> Iterator[CiRun]:
    for pipeline in answer:
        yield CiRun(
            tag=str(pipeline.get("ref")),
            workflow="pipeline",
            status=str(pipeline.get("status")),
            started=str(pipeline.get("created_at")),
            url=str(pipeline.get("web_url")),
        )
