"""Pull requests on the Hub, for tokens that may propose what they may not do."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.repository import Standing, standing

if TYPE_CHECKING:
    from huggingface_hub import Discussion

_REFERENCE = "refs/pr/"


def open_request(hub: Hub, repo_id: str, title: str) -> "Discussion | None":
    """The open pull request of a repo that has this title. Raises ToolError when the Hub does not answer."""
    return next(iter(_requests(hub, repo_id, title)), None)


def _requests(hub: Hub, repo_id: str, title: str) -> "list[Discussion]":
    with hub_errors(f"list the pull requests of {repo_id}"):
        there = hub.reading(repo_id).get_repo_discussions(
            repo_id, discussion_type="pull_request", discussion_status="open"
        )
        return [request for request in there if request.title == title]


def proposed(hub: Hub, repo_id: str, title: str) -> Iterator[Standing]:
    """What each open pull request of that title has, but for those that main has moved away from, so that they cannot
    be merged. Anybody can make one: it is for the caller to say whether that is what it would propose."""
    for request in _requests(hub, repo_id, title):
        if _conflicts(hub, repo_id, request.num):
            continue
        if found := standing(hub, repo_id, f"{_REFERENCE}{request.num}"):
            yield found


def _conflicts(hub: Hub, repo_id: str, number: int) -> bool:
    with hub_errors(f"look up pull request {number} of {repo_id}"):
        return bool(hub.reading(repo_id).get_discussion_details(repo_id, number).conflicting_files)


def page_of(hub: Hub, repo_id: str, branch: str | None) -> str | None:
    """The page of the pull request that a branch is; None for any other branch."""
    if branch is None or not branch.startswith(_REFERENCE):
        return None
    return f"{hub.url}/{repo_id}/discussions/{branch.removeprefix(_REFERENCE)}"
