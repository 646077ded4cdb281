"""Who asks, and what they may do."""

import base64
import binascii
from contextlib import suppress

from msgspec import Struct
from starlette.requests import Request

from tagship.hub_server.access_requests import Status, status_of
from tagship.hub_server.directory import Directory, Organization, Right, Role, Token, User, token_digest
from tagship.hub_server.exchange import Exchange
from tagship.hub_server.kinds import Kind
from tagship.hub_server.problem import HubProblem, gated_repo, repo_not_found
from tagship.hub_server.repos import Repo

__all__ = ["Access", "Caller", "Role"]


def _token(request: Request) -> str | None:
    """The token of an Authorization header: the client's Bearer, or git's password with any user."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
    return None


class Caller(Struct, frozen=True, kw_only=True):
    """A user and the token that they came with."""

    user: User
    token: Token


class Access(Struct, frozen=True, kw_only=True):
    """What each caller may do, by the Hub's directory, and by the tokens that it exchanged."""

    directory: Directory
    exchange: Exchange

    def caller(self, request: Request) -> Caller | None:
        """Who asks, None for one without a token. Raises HubProblem (401) for an unknown token."""
        if everybody := self.directory.everybody:
            return Caller(user=everybody, token=Token(user=everybody.name, name="embedded", role=Role.WRITE))
        text = _token(request)
        if text is None:
            return None
        if exchanged := self.exchange.known(text):
            return Caller(user=exchanged[0], token=exchanged[1])
        token = self.directory.tokens.get(token_digest(text))
        if token is None:
            raise HubProblem(401, "Invalid credentials in Authorization header")
        return Caller(user=self.directory.users[token.user], token=token)

    def role(self, request: Request) -> Role | None:
        """What the request's token is, None without one. Raises HubProblem (401) if it is unknown."""
        caller = self.caller(request)
        return caller.token.role if caller else None

    def require(self, request: Request) -> Caller:
        """Who asks. Raises HubProblem (401) without a known token."""
        caller = self.caller(request)
        if caller is None:
            raise HubProblem(401, "Invalid username or password.")
        return caller

    def may(self, caller: Caller | None, repo: Repo, right: Right) -> bool:
        """Whether the caller has a right on the repository; a public one is read by everybody."""
        if right is Right.READ and not repo.private:
            return True
        if caller is None or not caller.token.allows(repo.id, right):
            return False
        if caller.token.exchanged:
            return repo.kind is Kind.MODEL
        member = self.directory.membership(caller.user, repo.namespace)
        if right is Right.WRITE:
            own = member == "contributor" and repo.setting("creator") == caller.user.name
            return member in ("admin", "write") or own
        return member is not None or not repo.private

    def may_create(self, caller: Caller, namespace: str) -> bool:
        """Whether the caller may make repositories and collections in the namespace."""
        member = self.directory.membership(caller.user, namespace)
        return member in ("admin", "write", "contributor") and caller.token.allows(namespace, Right.WRITE)

    def require_write(self, request: Request, repo: Repo | None = None) -> Caller:
        """Who asks, if they may write at all, and to `repo`. Raises HubProblem: 401 without a known token, 403."""
        caller = self.require(request)
        if caller.token.role is Role.READ:
            raise HubProblem(403, "Forbidden: you must use a write token to do this")
        if repo is not None and not self.may(caller, repo, Right.WRITE):
            raise HubProblem(403, f"Forbidden: {caller.user.name} may not write to {repo.id} with this token")
        return caller

    def require_owner(self, request: Request, repo: Repo) -> Caller:
        """Who asks, if they may do more to a repository than write to it: a job's token is for what it publishes.
        Raises HubProblem as `require_write`."""
        caller = self.require_write(request, repo)
        if caller.token.exchanged:
            raise HubProblem(403, f"Forbidden: a trusted publisher's token writes to {repo.id}, and does no more to it")
        return caller

    def require_create(self, request: Request, namespace: str) -> Caller:
        """Who asks, if they may make something in the namespace. Raises HubProblem (401, 403)."""
        caller = self.require_write(request)
        if not self.may_create(caller, namespace):
            what = f'You don\'t have the rights to create a repository under the namespace "{namespace}"'
            raise HubProblem(403, what)
        return caller

    def require_read(self, request: Request, repo: Repo) -> None:
        """Raises HubProblem: 401 for an unknown token, 404 for a private repository that the caller may not see.

        The Hub hides what one may not see: the answer is that of a repository that doesn't exist.
        """
        if not self.may(self.caller(request), repo, Right.READ):
            raise repo_not_found()

    def require_files(self, request: Request, repo: Repo) -> None:
        """Raises HubProblem (401, 403; GatedRepo) if the files of a gated repository are not the caller's to read."""
        if repo.gated is None:
            return
        caller = self.caller(request)
        if caller is None:
            raise gated_repo(401, f"Access to {repo.kind.value} {repo.id} is restricted. You must be logged in.")
        if caller.token.exchanged and caller.token.allows(repo.id, Right.READ) and repo.kind is Kind.MODEL:
            return
        member = self.directory.membership(caller.user, repo.namespace)
        if member is None and status_of(repo, caller.user.name) is not Status.ACCEPTED:
            message = f"Access to {repo.kind.value} {repo.id} is restricted and you are not in the authorized list."
            raise gated_repo(403, f"{message} Visit {repo.page} to ask for access.")

    def organization(self, namespace: str) -> Organization | None:
        """The organization of that name."""
        return self.directory.organizations.get(namespace)
