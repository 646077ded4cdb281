"""Who asked for the files of a gated repository, and what became of it; kept inside the repository's folder."""

import secrets
import time
from enum import Enum
from typing import Any

from msgspec import Struct, to_builtins

from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo


class Status(Enum):
    """What became of a request."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class AccessRequest(Struct, frozen=True, kw_only=True):
    """One user's request; `time` is its Unix time, `fields` are what the user filled in."""

    id: str
    user: str
    status: str
    time: int
    reason: str | None = None
    granted: bool = False


def requests_of(repo: Repo) -> list[AccessRequest]:
    """All requests, the latest first."""
    found = [AccessRequest(**data) for data in repo.record("access-requests").read().values()]
    return sorted(found, key=lambda request: (-request.time, request.user))


def status_of(repo: Repo, user: str) -> Status | None:
    """What became of the user's request, None if they have not asked."""
    data = repo.record("access-requests").read().get(user)
    return Status(data["status"]) if data else None


def ask(repo: Repo, user: str) -> Status:
    """Ask in the name of the user, which is granted at once where the repository says `auto`."""
    status = Status.ACCEPTED if repo.gated == "auto" else Status.PENDING
    with repo.change_record("access-requests") as data:
        if user in data:
            return Status(data[user]["status"])
        data[user] = _new(user, status, granted=False)
    return status


def grant(repo: Repo, user: str) -> None:
    """Let a user in who may not have asked. Raises HubProblem (400) if they are in."""
    with repo.change_record("access-requests") as data:
        if user in data and data[user]["status"] == Status.ACCEPTED.value:
            raise HubProblem(400, f"{user} already has access to {repo.id}")
        data[user] = _new(user, Status.ACCEPTED, granted=True)


def decide(repo: Repo, user: str, status: Status, reason: str | None) -> None:
    """Accept, reject or reopen a request. Raises HubProblem: 404 if there is none, 400 if that is what it is."""
    with repo.change_record("access-requests") as data:
        if user not in data:
            raise HubProblem(404, f"{user} has not asked for access to {repo.id}")
        if data[user]["status"] == status.value:
            raise HubProblem(400, f"The request of {user} is {status.value} already")
        data[user] |= {"status": status.value, "reason": reason}


def _new(user: str, status: Status, *, granted: bool) -> dict[str, Any]:
    request = AccessRequest(
        id=secrets.token_hex(12), user=user, status=status.value, time=int(time.time()), granted=granted
    )
    return to_builtins(request)
