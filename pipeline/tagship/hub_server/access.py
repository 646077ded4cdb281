"""Who asks, and what they may do."""

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request

from tagship.hub_server.problem import HubProblem, repo_not_found
from tagship.hub_server.repos import Repo


class Role(Enum):
    """What a token allows."""

    READ = "read"
    WRITE = "write"


def _token(request: Request) -> str | None:
    """The token of an Authorization header: the client's Bearer, or git's password with any user."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """The Hub's tokens; None lets everybody read and write, which is safe on loopback only."""

    tokens: Mapping[str, Role] | None

    def role(self, request: Request) -> Role | None:
        """What the request's token allows, None without one. Raises HubProblem (401) if it is unknown."""
        if self.tokens is None:
            return Role.WRITE
        token = _token(request)
        if token is None:
            return None
        if token not in self.tokens:
            raise HubProblem(401, "Invalid credentials in Authorization header")
        return self.tokens[token]

    def require(self, request: Request) -> Role:
        """What the request's token allows. Raises HubProblem (401) without a known token."""
        role = self.role(request)
        if role is None:
            raise HubProblem(401, "Invalid username or password.")
        return role

    def require_write(self, request: Request) -> None:
        """Raises HubProblem: 401 without a known token, 403 for one that only reads."""
        if self.require(request) is not Role.WRITE:
            raise HubProblem(403, "Forbidden: you must use a write token to do this")

    def require_read(self, request: Request, repo: Repo, *, asked: str) -> None:
        """Raises HubProblem: 401 for an unknown token, 404 for a private repository without a token.

        The Hub hides what one may not see: the answer is that of a repository that doesn't exist,
        by the name that was `asked` for.
        """
        if self.role(request) is None and repo.private:
            raise repo_not_found(asked)
