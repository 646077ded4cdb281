"""Publishing without a stored token: a job of CI says who it is, and gets a token for each repo that trusts it.

The Hub calls that trusted publishers (https://huggingface.co/docs/hub/trusted-publishers); the exchange is RFC 8693.
Such a token writes to one repo for an hour. It can neither make a repo nor say whose it is.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tagship.hub.failures import hub_errors, status_of
from tagship.system.errors import ReleaseError, ToolError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The variables that the Hub's client knows, too.
RESOURCE = "HF_OIDC_RESOURCE"
ID_TOKEN = "HF_OIDC_ID_TOKEN"
# A token is exchanged anew before it ends, so that an upload that begins with it has some minutes; seconds.
_MARGIN = 300
_LIFETIME = 3600
# What of a job's identity a trusted publisher is made of, in the order of GitHub's and GitLab's own pages.
_CLAIMS = ("repository", "workflow_ref", "project_path", "environment", "ref_type", "sub")
_MOST_LISTED = 10
# What the environment asked for, while the client does not see it.
_resource: ContextVar[str] = ContextVar("resource", default="")


class NotTrusted(ReleaseError):
    """The Hub gives this job no token for a repo."""


class _Granted(Struct, frozen=True, kw_only=True):
    """A token, and until when (monotonic seconds) it is used."""

    token: str
    until: float


@contextmanager
def identity_of_job(endpoint: str) -> "Iterator[Identity | None]":
    """The identity of this job, where its environment asks for keyless publishing. Meanwhile the Hub's client, which
    would exchange it by itself, at its own Hub and for one repo, does not see that it asks."""
    asked = os.environ.pop(RESOURCE, None)
    resource = (_resource.get() if asked is None else asked).strip()
    before = _resource.set(resource)
    try:
        yield Identity(endpoint, resource) if resource else None
    finally:
        _resource.reset(before)
        if asked is not None:
            os.environ[RESOURCE] = asked


class Identity:
    """Who a job of CI is to one Hub, and the tokens that it got there, by what they are for."""

    def __init__(self, endpoint: str, resource: str) -> None:
        """`resource` is what the token is for with which the Hub is asked for all but the release's own repos: a user's
        name, who may read gated models, or a repo."""
        self.endpoint = endpoint
        self._resource = resource
        self._granted: dict[str, _Granted | NotTrusted] = {}
        self._lock = Lock()

    def client(self) -> "HfApi":
        """The client for what belongs to nobody in particular. Raises NotTrusted, ToolError."""
        return self.writing(self._resource)

    def writing(self, repo_id: str) -> "HfApi":
        """The client that may write to a repo. Raises NotTrusted, ToolError."""
        return _client(self.endpoint, self._token(repo_id))

    def reading(self, repo_id: str) -> "HfApi":
        """The client that reads a repo: as a guest where the repo does not trust this job. Raises ToolError."""
        try:
            return self.writing(repo_id)
        except NotTrusted:
            return _client(self.endpoint, False)

    def check(self, repos: Mapping[str, bool]) -> None:
        """Raise ReleaseError that lists the repos which are not there, or do not trust this job. By the id of each it
        is said whether it is there."""
        if missing := [repo_id for repo_id, there in repos.items() if not there]:
            raise ReleaseError(
                f"not on {self.endpoint}, or not for this job to see: {_listed(missing)}; keyless publishing cannot "
                "make a repo",
                remedy="make them on the Hub, each with this job as a trusted publisher in its settings; or say "
                '[hub] layout = "repo-per-model", whose repos are made once; or publish with HF_TOKEN, without '
                f"{RESOURCE}",
            )
        refused = [error for repo_id in repos if isinstance(error := self._asked(repo_id), NotTrusted)]
        if refused:
            raise NotTrusted(_listed([str(error) for error in refused], "; "), remedy=refused[0].remedy)

    def _token(self, resource: str) -> str:
        granted = self._asked(resource)
        if isinstance(granted, NotTrusted):
            # A new one each time: a raised error keeps the frames that it went through.
            raise NotTrusted(str(granted), remedy=granted.remedy)
        return granted.token

    def _asked(self, resource: str) -> _Granted | NotTrusted:
        with self._lock:
            known = self._granted.get(resource)
            if known is None or (isinstance(known, _Granted) and known.until <= monotonic()):
                known = self._granted[resource] = self._exchange(resource)
            return known

    def _exchange(self, resource: str) -> _Granted | NotTrusted:
        """What the Hub answers. Raises ToolError where it does not, or this job has no identity."""
        from huggingface_hub._oidc import exchange_oidc_token

        identity = self._id_token()
        began = monotonic()
        try:
            with hub_errors(f"exchange this job's identity for a token for {resource}"):
                answer = exchange_oidc_token(subject_token=identity, resource=resource, endpoint=self.endpoint)
                token, lifetime = str(answer["access_token"]), float(answer.get("expires_in", _LIFETIME))
        except ToolError as error:
            if status_of(error) not in (400, 401, 403, 404):
                raise
            return NotTrusted(str(error), remedy=self._remedy(resource, identity))
        # An identity that was given from outside may have ended by then, so that its token is used as long as it lasts.
        margin = 0 if os.environ.get(ID_TOKEN) else _MARGIN
        return _Granted(token=token, until=began + max(lifetime - margin, 0))

    def _id_token(self) -> str:
        """What CI says of this job, signed: new each time where CI makes it on demand, as it lives for minutes. Raises
        ToolError where it says nothing."""
        from huggingface_hub._oidc import get_oidc_token

        if given := os.environ.get(ID_TOKEN, "").strip():
            return given
        with hub_errors(f"publish without a token, as {RESOURCE} asks"):
            return get_oidc_token(audience=self.endpoint)

    def _remedy(self, resource: str, identity: str) -> str:
        said = claims_of(identity)
        if not said:
            return f"{ID_TOKEN} is no identity: it has to be the token that CI signed for this job"
        if isinstance(said.get("exp"), int | float) and said["exp"] < time():
            return f"this job's identity has ended: {ID_TOKEN} is made when a job begins, so use it sooner"
        audience = said.get("aud")
        if self.endpoint not in (audience if isinstance(audience, list) else [audience]):
            return f"this job's identity is for {audience}: have CI make it with aud: {self.endpoint}"
        known = ", ".join(f"{name} = {said[name]}" for name in _CLAIMS if isinstance(said.get(name), str))
        where = "in its settings on the Hub" if "/" in resource else "in that user's settings on the Hub"
        who = f", issuer {said['iss']}" if isinstance(said.get("iss"), str) else ""
        return f"add this job {where}, under Trusted Publishers{who}" + (f", by any of {known}" if known else "")


def claims_of(identity: str) -> dict[str, Any]:
    """What an identity says, unchecked: nothing of one that is no JSON Web Token."""
    try:
        part = identity.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _client(endpoint: str, token: str | bool) -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, token=token, library_name="tagship")


def _listed(items: list[str], between: str = ", ") -> str:
    more = f" and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
    return between.join(items[:_MOST_LISTED]) + more
