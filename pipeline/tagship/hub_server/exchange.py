"""Trusted publishers: jobs of CI that get a token for an hour by saying who they are, in place of a stored one.

A job's CI signs an identity (OpenID Connect); what must be in it is in the Hub's file of users. The token that a job
gets is signed by the Hub and kept nowhere, so that every server on a folder knows it; it ends when its publisher is
taken out of the file.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2
from msgspec import Struct

from tagship.hub_server.bounded import OutOfBounds, parse_json
from tagship.hub_server.directory import Publisher, Token, User
from tagship.hub_server.signing import LIFETIME_SECONDS, Signer

_PREFIX = "hf_jwt_"
# What identities are signed with: pairs of keys, never a secret that the Hub would have to share.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA")
# Clocks differ; seconds.
_LEEWAY = 30
_ANSWER_SECONDS = 10.0
_MOST_BYTES = 1 << 20
_UNUSUAL = re.compile(r"[^\w./:@-]", re.ASCII)
_DISCOVERY = "/.well-known/openid-configuration"


class NotTrusted(Exception):
    """An identity that no publisher fits, or that is none; the message says why."""


class Exchange(Struct, frozen=True, kw_only=True):
    """Gives tokens to those whom the publishers fit, and knows its tokens again."""

    publishers: tuple[Publisher, ...]
    signer: Signer

    def grant(self, identity: str, repo_id: str, audience: str) -> tuple[str, int]:
        """A token for a model, and the seconds that it lasts. `audience` is this Hub's own address.

        Raises NotTrusted, which says what each publisher asks that is not so.
        """
        candidates = [publisher for publisher in self.publishers if publisher.repo_id.lower() == repo_id.lower()]
        if not candidates:
            raise NotTrusted(f"{repo_id} has no trusted publisher")
        problems = []
        for publisher in candidates:
            try:
                claims = _checked(publisher, identity, audience)
            except NotTrusted as problem:
                problems.append(str(problem))
                continue
            told = json.dumps([publisher.digest, _job(claims)])
            part = base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")
            return f"{_PREFIX}{part}.{self.signer.grant(_scope(part))[0]}", LIFETIME_SECONDS
        raise NotTrusted(f"no trusted publisher of {repo_id} fits: {'; '.join(problems)}")

    def known(self, text: str) -> tuple[User, Token] | None:
        """Who has one of its tokens, and what it allows; None for any other text, and for one that has ended or whose
        publisher is gone."""
        part, _, grant = text.removeprefix(_PREFIX).partition(".")
        if not text.startswith(_PREFIX) or not self.signer.allows(_scope(part), grant):
            return None
        digest, job = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        publisher = next((known for known in self.publishers if known.digest == digest), None)
        if publisher is None:
            return None
        return User(name=job, fullname=job), publisher.token(job)


def _job(claims: Mapping[str, Any]) -> str:
    """What a job is called as the author of its commits. No user has such a name, as that has no colon."""
    return "ci:" + _UNUSUAL.sub("-", str(claims.get("repository") or claims.get("project_path") or claims["sub"]))[:200]


def _scope(part: str) -> str:
    return f"exchange:{part}"


def _checked(publisher: Publisher, identity: str, audience: str) -> Mapping[str, Any]:
    """What an identity says, if its issuer signed it for this Hub and it says what the publisher asks. Raises
    NotTrusted."""
    import jwt

    try:
        key = _key(publisher, jwt.get_unverified_header(identity))
        claims: dict[str, Any] = jwt.decode(
            identity,
            key,
            algorithms=list(_ALGORITHMS),
            audience=audience,
            issuer=publisher.issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise NotTrusted(str(error)) from error
    for name, asked in publisher.claims.items():
        if claims.get(name) != asked:
            raise NotTrusted(f"{name} is {claims.get(name)!r}, not {asked!r}")
    return claims


def _key(publisher: Publisher, header: Mapping[str, Any]) -> Any:
    """The issuer's key that an identity names. Raises NotTrusted, and what jwt raises."""
    import jwt

    found = jwt.PyJWKSet.from_dict(_keys(publisher))
    name = header.get("kid")
    keys = [key for key in found.keys if name is None or key.key_id == name]
    if len(keys) != 1:
        raise NotTrusted(f"{publisher.issuer} has no key {name!r}")
    return keys[0]


def _keys(publisher: Publisher) -> dict[str, Any]:
    """The issuer's keys (JWKS). Raises NotTrusted where they cannot be had."""
    try:
        if publisher.keys is not None:
            return _object(publisher.keys.read_bytes())
        where = _object(_asked(publisher.issuer.rstrip("/") + _DISCOVERY)).get("jwks_uri")
        return _object(_asked(str(where)))
    except (OSError, httpx2.HTTPError, httpx2.InvalidURL, OutOfBounds) as error:
        raise NotTrusted(f"the keys of {publisher.issuer} cannot be had: {error}") from error


def _asked(url: str) -> bytes:
    with httpx2.stream("GET", url, timeout=_ANSWER_SECONDS) as answer:
        answer.raise_for_status()
        content = b""
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > _MOST_BYTES:
                raise OutOfBounds(f"{url} has more than {_MOST_BYTES} bytes")
        return content


def _object(text: bytes) -> dict[str, Any]:
    found = parse_json(text)
    if not isinstance(found, dict):
        raise OutOfBounds("no JSON object")
    return found
