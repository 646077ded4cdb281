"""Discussions and pull requests of a repository, as the client's events; kept in the repository's folder."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tagship.hub_server.directory import User
from tagship.hub_server.markdown import rendered
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo
from tagship.hub_server.times import now

STATUSES = ("open", "closed")
_RECORD = "discussions"
_LONGEST = 65_536

Discussion = dict[str, Any]
"""What the API calls a discussion, with its `events`; of a pull request also `changes`."""


def discussions_of(repo: Repo) -> list[Discussion]:
    """All of them, the latest first."""
    return list(repo.record(_RECORD).read().values())[::-1]


def discussion(repo: Repo, number: str) -> Discussion:
    """The one with this number. Raises HubProblem (404)."""
    found = repo.record(_RECORD).read().get(number)
    if found is None:
        raise _missing(repo, number)
    assert isinstance(found, dict)
    return found


def _missing(repo: Repo, number: str) -> HubProblem:
    return HubProblem(404, f"Discussion {number} of {repo.id} not found")


@contextmanager
def opening(repo: Repo, user: User, title: str, description: str) -> Iterator[Discussion]:
    """A new discussion, with the next number; it is there at the end of the block, unless the block raises."""
    with repo.change_record(_RECORD) as kept:
        number = max(map(int, kept), default=0) + 1
        opened = {
            "num": number,
            "title": text(title, "title"),
            "status": "open",
            "isPullRequest": False,
            "author": author_json(user),
            "createdAt": now(),
            "events": [comment_event(user, description)] if description else [],
        }
        yield opened
        kept[str(number)] = opened


@contextmanager
def changing(repo: Repo, number: str) -> Iterator[Discussion]:
    """Change a discussion; it stays as it was if the block raises. Raises HubProblem (404)."""
    with repo.change_record(_RECORD) as kept:
        if number not in kept:
            raise _missing(repo, number)
        yield kept[number]


def author_json(user: User) -> dict[str, Any]:
    """A user as an author."""
    return {"name": user.name, "fullname": user.fullname, "type": "user", "isHf": False, "avatarUrl": ""}


def event(user: User, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Something that a user did just now."""
    return {"id": secrets.token_hex(12), "type": kind, "author": author_json(user), "createdAt": now(), "data": data}


def comment_event(user: User, content: object) -> dict[str, Any]:
    """A comment, in Markdown."""
    latest = _wording(user, content)
    return event(user, "comment", {"edited": False, "hidden": False, "latest": latest, "history": []})


def _wording(user: User, content: object) -> dict[str, Any]:
    raw = text(content, "comment")
    return {"raw": raw, "html": rendered(raw), "updatedAt": now(), "author": author_json(user)}


def text(value: object, what: str) -> str:
    """A text that is not empty. Raises HubProblem (400)."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise HubProblem(400, f"The {what} must be a text of at most {_LONGEST} characters")
    return value


def own_comment(opened: Discussion, comment: str, user: User, *, moderator: bool) -> dict[str, Any]:
    """The comment with this id, if the user may change it. Raises HubProblem: 404, 403."""
    found = next((item for item in opened["events"] if item["id"] == comment and item["type"] == "comment"), None)
    if found is None:
        raise HubProblem(404, f"There is no comment {comment}")
    if not moderator and found["author"]["name"] != user.name:
        raise HubProblem(403, "This comment is not yours")
    assert isinstance(found, dict)
    return found


def edit(comment: dict[str, Any], user: User, content: object) -> None:
    """Another wording of a comment; the one before is kept. Raises HubProblem (400) for a hidden one."""
    data = comment["data"]
    if data["hidden"]:
        raise HubProblem(400, "A hidden comment cannot be changed")
    data["history"].append(data["latest"])
    data["latest"] = _wording(user, text(content, "comment"))
    data["edited"] = True


def hide(comment: dict[str, Any], user: User) -> None:
    """Take what a comment says away, for good."""
    hidden = {"raw": "", "html": "", "updatedAt": now(), "author": author_json(user)}
    comment["data"] |= {"hidden": True, "latest": hidden, "history": []}
