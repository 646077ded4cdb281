"""Who there is: users, organizations and their members, tokens and what they allow, jobs of CI that are trusted."""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from msgspec import Struct, field


class Role(Enum):
    """What a token allows; the values are those of `whoami`."""

    READ = "read"
    WRITE = "write"
    FINE_GRAINED = "fineGrained"


class Right(Enum):
    """What a fine-grained token allows on a namespace or a repository; writing includes the others."""

    READ = "read"
    WRITE = "write"
    DISCUSS = "discuss"


# What members of an organization may be called, from the most rights to the least.
MEMBER_ROLES = ("admin", "write", "contributor", "read")


class User(Struct, frozen=True, kw_only=True):
    """A person or machine; an operator may do everything on this Hub."""

    name: str
    fullname: str
    email: str | None = None
    operator: bool = False


class Organization(Struct, frozen=True, kw_only=True):
    """A namespace that users share; `members` says what each is, `private` whether new repositories are."""

    name: str
    fullname: str
    members: Mapping[str, str] = field(default_factory=dict)
    private: bool = False


class Scope(Struct, frozen=True, kw_only=True):
    """A right of a fine-grained token on a namespace, or on one repository `namespace/name`."""

    on: str
    right: Right

    def covers(self, repo_id: str, right: Right) -> bool:
        """Whether it allows `right` on the repository, or on the namespace if that is what `repo_id` is."""
        within = repo_id.lower() == self.on.lower() or repo_id.lower().startswith(f"{self.on.lower()}/")
        return within and (self.right is right or self.right is Right.WRITE)


class Token(Struct, frozen=True, kw_only=True):
    """What a token is, except for its text; `scopes` are for a fine-grained one. One that was `exchanged` for a job's
    identity is nobody's: it allows what its scopes say, to who is no member of anything."""

    user: str
    name: str
    role: Role
    scopes: tuple[Scope, ...] = ()
    exchanged: bool = False

    def allows(self, repo_id: str, right: Right) -> bool:
        """Whether the token lets its user use a right that they have."""
        if self.role is Role.FINE_GRAINED:
            return any(scope.covers(repo_id, right) for scope in self.scopes)
        return self.role is Role.WRITE or right is Right.READ


def token_digest(token: str) -> str:
    """By what a token is found: the SHA-256 (hex) of its text, so that nobody reads it out of memory or a file."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class Publisher(Struct, frozen=True, kw_only=True):
    """Who gets a token without having one: jobs of CI whose issuer says each of the claims.

    `repo_id` is the model that they may write to, or only read. `keys` is a file with the issuer's public keys (JWKS);
    without one the issuer is asked.
    """

    repo_id: str
    issuer: str
    claims: Mapping[str, str]
    read_only: bool = False
    keys: Path | None = None

    @property
    def digest(self) -> str:
        """A name for it, which is another one when anything of it changes."""
        told = [self.repo_id, self.issuer, sorted(self.claims.items()), self.read_only, str(self.keys)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def token(self, job: str) -> Token:
        """What a job's token allows."""
        scope = Scope(on=self.repo_id, right=Right.READ if self.read_only else Right.WRITE)
        return Token(user=job, name="trusted publisher", role=Role.FINE_GRAINED, scopes=(scope,), exchanged=True)


class Directory(Struct, frozen=True, kw_only=True):
    """All users and organizations by name, all tokens by their digest.

    `everybody` is the user that a request without a token is taken for: on an open Hub, which is safe on loopback
    only, everybody is its operator. `names` are the host names under which the Hub is reached.
    """

    users: Mapping[str, User]
    organizations: Mapping[str, Organization] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    publishers: tuple[Publisher, ...] = ()
    everybody: User | None = None
    names: frozenset[str] = frozenset()

    @classmethod
    def of_tokens(cls, namespace: str, tokens: Mapping[str, Role] | None) -> "Directory":
        """One operator, who has these tokens; None lets everybody be the operator."""
        user = User(name=namespace, fullname=namespace, operator=True)
        roles = {token_digest(text): role for text, role in (tokens or {}).items()}
        found = {digest: Token(user=namespace, name="embedded", role=role) for digest, role in roles.items()}
        return cls(users={namespace: user}, tokens=found, everybody=user if tokens is None else None)

    def canonical(self, namespace: str) -> str:
        """The namespace as it is spelled here, whatever case it was asked for in."""
        known = {name.lower(): name for name in (*self.users, *self.organizations)}
        return known.get(namespace.lower(), namespace)

    def membership(self, user: User, namespace: str) -> str | None:
        """What the user is in the namespace: a member's role, `admin` in their own, None elsewhere."""
        if user.operator or namespace == user.name:
            return "admin"
        organization = self.organizations.get(namespace)
        return organization.members.get(user.name) if organization else None

    def organizations_of(self, user: User) -> list[Organization]:
        """Those that the user is a member of, by name."""
        return [found for _, found in sorted(self.organizations.items()) if user.name in found.members]
