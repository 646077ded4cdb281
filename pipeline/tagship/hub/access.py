"""Whether a release may be published where it would go: asked before anything is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tagship.hub.connection import Hub
from tagship.system.errors import ReleaseError, ToolError

_TOKENS_PAGE = "https://huggingface.co/settings/tokens"


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Turn what the Hub's client raises into ToolError that says what was being done."""
    from huggingface_hub.errors import HfHubHTTPError

    # What the client's HTTP library raises where nobody answers. Which library that is, is the client's own matter.
    (unanswered, *_) = HfHubHTTPError.__bases__
    try:
        yield
    except HfHubHTTPError as error:
        raise ToolError(f"the Hub refused to {doing}: {_first_line(error)}") from error
    except unanswered as error:
        raise ToolError(
            f"the Hub could not be reached to {doing}: {_first_line(error)}",
            remedy="check the network and [hub] endpoint; the same command goes on where this one stopped",
        ) from error


def check_access(hub: Hub, namespace: str) -> None:
    """Raise ReleaseError when there is no token for the Hub, or it may not write to `namespace`."""
    if hub.embedded:
        return
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not (hub.api.token or get_token()):
        raise ReleaseError(
            f"there is no token for {hub.url}",
            remedy=f"set HF_TOKEN to a token with write access ({_TOKENS_PAGE}), or run hf auth login",
        )
    try:
        with hub_errors("say whose token this is"):
            user = hub.api.whoami()
    except ToolError as error:
        if isinstance(error.__cause__, HfHubHTTPError) and error.__cause__.response.status_code == 401:
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


def _first_line(error: Exception) -> str:
    # The Hub's own words, where there are any, say more than the client's, which name the status and the URL.
    said = getattr(error, "server_message", None)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if said:
        return f"{said} ({status})" if status else str(said)
    # The client appends the request's id and links; the first line with text says what is wrong.
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
