"""The runs of CI that tags have triggered, as the forge of the repository tells them over HTTP.

GitHub: https://docs.github.com/en/rest/actions/workflow-runs; GitLab: https://docs.gitlab.com/api/pipelines/.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tagship.system.errors import ToolError
from tagship.system.forge_api import Api, Environment, Unreached, ask, github_api, gitlab_api

_NEWEST = 100


class CiRun(Struct, frozen=True, kw_only=True):
    """A run that a tag has triggered: `workflow` is what runs, `status` is in the forge's own words, `started` in ISO
    format, `url` its page."""

    tag: str
    workflow: str
    status: str
    started: str
    url: str


class _Asked(Struct, frozen=True, kw_only=True):
    """A question to a forge: its API, the path below, and how the answer is read."""

    api: Api
    path: str
    read: Callable[[Any], Iterator[CiRun]]


def ci_runs(web: str, environment: Environment = os.environ.get) -> list[CiRun]:
    """The newest runs that tags have triggered, the newest first; `web` is the page of the repository. Raises ToolError
    that says what cannot be seen, and why."""
    asked = _asked(web, environment)
    answer = _answer(asked)
    try:
        return list(asked.read(answer))
    except (AttributeError, TypeError):
        raise ToolError(
            f"CI runs are not seen: {asked.api.host} answers something else",
            remedy="see that its address is that of its API",
        ) from None


def _asked(web: str, environment: Environment) -> _Asked:
    host = urlsplit(web).hostname or ""
    if "github" in host:
        path = f"/actions/runs?event=push&per_page={_NEWEST}"
        return _Asked(api=github_api(web, environment), path=path, read=_github)
    if "gitlab" in host or environment("CI_API_V4_URL"):
        path = f"/pipelines?scope=tags&per_page={_NEWEST}"
        return _Asked(api=gitlab_api(web, environment), path=path, read=_gitlab)
    raise ToolError(f"CI runs of {host} are not seen: only those of GitHub and GitLab are", remedy=None)


def _answer(asked: _Asked) -> Any:
    host = asked.api.host
    try:
        answer = ask(asked.api, asked.path)
    except Unreached as error:
        raise ToolError(f"CI runs are not seen: {host} does not answer ({error})", remedy="try again later") from None
    if answer.code != 200:
        raise _refused(asked.api, answer.code)
    if answer.document is None:
        raise ToolError(f"CI runs are not seen: {host} does not answer with JSON", remedy="try again later")
    return answer.document


def _refused(api: Api, code: int) -> ToolError:
    token = "the token may not read them" if api.has_token else "there is no token"
    why = {401: token, 403: f"{token}, or too much was asked", 404: f"there is no such repository, or {token}"}
    return ToolError(
        f"CI runs are not seen: {api.host} says {code}, {why.get(code, 'try again later')}",
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
