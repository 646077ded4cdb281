"""A Hub that several people use."""

from collections.abc import Callable

from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.directory import Directory, Organization, Right, Role, Scope, Token, User, token_digest

_TOKENS = {
    "alice": Token(user="alice", name="laptop", role=Role.WRITE),
    "bob": Token(user="bob", name="laptop", role=Role.WRITE),
    "carol": Token(user="carol", name="laptop", role=Role.WRITE),
    "alice-reads": Token(user="alice", name="ci", role=Role.READ),
    "alice-one-repo": Token(
        user="alice", name="ci", role=Role.FINE_GRAINED, scopes=(Scope(on="acme/model", right=Right.WRITE),)
    ),
    "alice-proposes": Token(
        user="alice",
        name="ci",
        role=Role.FINE_GRAINED,
        scopes=(Scope(on="acme", right=Right.READ), Scope(on="acme", right=Right.DISCUSS)),
    ),
}

# Alice may write to acme, Bob only read, Carol is not in it; a token is called as its user.
TEAM = Directory(
    users={
        name: User(name=name, fullname=name.capitalize(), email=f"{name}@example.org")
        for name in ("alice", "bob", "carol")
    },
    organizations={
        "acme": Organization(name="acme", fullname="Acme, Inc.", members={"alice": "admin", "bob": "read"}),
        "secret": Organization(name="secret", fullname="Secret", members={"alice": "contributor"}, private=True),
    },
    tokens={token_digest(name): token for name, token in _TOKENS.items()},
)


Api = Callable[[str], HfApi]


def api_of(hub: EmbeddedHub) -> Api:
    """A function that makes the client of one who has a token, or of a guest, who has none."""
    return lambda token: HfApi(endpoint=hub.url, token=token or False)
