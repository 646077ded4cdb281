"""Whether a release may be published where it would go: asked before anything is written."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tagship.hub.connection import Hub
from tagship.hub.failures import GOES_ON, hub_errors, status_of
from tagship.system.errors import ReleaseError, ToolError

_TOKENS_PAGE = "https://huggingface.co/settings/tokens"


def check_access(hub: Hub, repos: Mapping[str, bool], *, proposes: bool = False) -> None:
    """Raise ReleaseError when there is no token for the Hub, or it may not write to one of the repos, or not make it:
    by the id of each it is said whether it is there. A job that has no token of its own is asked repo by repo; who
    only `proposes` need not be able to write."""
    if hub.embedded:
        return
    if hub.identity:
        hub.identity.check(repos)
        return
    from huggingface_hub import get_token

    if not (hub.api.token or get_token()):
        raise ReleaseError(
            f"there is no token for {hub.url}",
            remedy=f"set HF_TOKEN to a token with write access ({_TOKENS_PAGE}), or run hf auth login",
        )
    try:
        with hub_errors("say whose token this is"):
            user = hub.api.whoami()
    except ToolError as error:
        if status_of(error) == 401:
            raise ReleaseError(
                f"{hub.url} does not know the token",
                remedy=f"make a new one with write access: {_TOKENS_PAGE}",
            ) from None
        raise
    try:
        access = _access(user)
    except (AttributeError, TypeError):
        raise ToolError(
            f"what {hub.url} says of the token could not be read: {user!r:.100}",
            remedy=f"see that [hub] endpoint is a Hub, and no proxy answers in its place; {GOES_ON}",
        ) from None
    for repo_id, there in ({} if proposes else repos).items():
        _check_scope(access, repo_id, there, hub.url)


class _Access(Struct, frozen=True, kw_only=True):
    """What `whoami` says: the user, its role in each of its organisations, the token's role, and what a fine-grained
    token may write, namespaces and single repos."""

    name: str
    organisations: Mapping[str, str | None]
    role: str | None
    writes: frozenset[str]


def _access(user: Mapping[str, Any]) -> _Access:
    token = user.get("auth", {}).get("accessToken", {})
    scopes = (token.get("fineGrained") or {}).get("scoped") or ()
    writes = (scope.get("entity", {}).get("name") for scope in scopes if "repo.write" in scope.get("permissions", ()))
    return _Access(
        name=str(user.get("name")),
        organisations={str(each.get("name")): each.get("roleInOrg") for each in user.get("orgs") or ()},
        role=token.get("role"),
        writes=frozenset(filter(None, writes)),
    )


def _check_scope(access: _Access, repo_id: str, there: bool, url: str) -> None:
    namespace = repo_id.partition("/")[0]
    if access.role == "fineGrained" and repo_id in access.writes:
        if there:
            return
        raise ReleaseError(
            f"the token of {access.name} is for {repo_id} alone, which is not on {url}, and may not make it",
            remedy=f"make the repo on the Hub first, or a token that may write to {namespace}: {_TOKENS_PAGE}",
        )
    if namespace not in (access.name, *access.organisations):
        raise ReleaseError(
            f"the token is {access.name}'s, who may not publish under {namespace!r} on {url}",
            remedy=f"set [project] namespace to {access.name!r}, or join the organisation",
        )
    if access.organisations.get(namespace) == "read":
        raise ReleaseError(
            f"{access.name} is a member of {namespace} on {url} who may only read",
            remedy=f"ask an administrator of {namespace} for the role contributor or write",
        )
    if access.role == "read" or (access.role == "fineGrained" and namespace not in access.writes):
        raise ReleaseError(
            f"the token of {access.name} cannot write to {namespace} on {url}",
            remedy=f"make one with write access: {_TOKENS_PAGE}",
        )
