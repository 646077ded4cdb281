"""Whether a release may be published where it would go: asked before anything is written."""

from typing import Any

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors, status_of
from tagship.system.errors import ReleaseError, ToolError

_TOKENS_PAGE = "https://huggingface.co/settings/tokens"


def check_access(hub: Hub, namespace: str) -> None:
    """Raise ReleaseError when there is no token for the Hub, or it may not write to `namespace`."""
    if hub.embedded:
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
    _check_scope(user, namespace, hub.url)


def _check_scope(user: dict[str, Any], namespace: str, url: str) -> None:
    name = user.get("name")
    organisations = [organisation.get("name") for organisation in user.get("orgs", ())]
    if namespace not in (name, *organisations):
        raise ReleaseError(
            f"the token is {name}'s, who may not publish under {namespace!r} on {url}",
            remedy=f"set [project] namespace to {name!r}, or join the organisation",
        )
    token = user.get("auth", {}).get("accessToken", {})
    role = token.get("role")
    if role == "read" or (role == "fineGrained" and not _may_write(token.get("fineGrained", {}), namespace)):
        raise ReleaseError(
            f"the token of {name} cannot write to {namespace} on {url}",
            remedy=f"make one with write access: {_TOKENS_PAGE}",
        )


def _may_write(scopes: dict[str, Any], namespace: str) -> bool:
    return any(
        "repo.write" in scope.get("permissions", ())
        for scope in scopes.get("scoped", ())
        if scope.get("entity", {}).get("name") == namespace
    )
