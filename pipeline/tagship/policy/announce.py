"""`[announce]`: where a release is told of after it was checked. Nothing is, unless it is said here."""

import re

from msgspec import Struct

from tagship.system.toml_reader import Reader

_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class AnnouncePolicy(Struct, frozen=True, kw_only=True):
    """`github` and `gitlab` are whether the tag gets a release there; `webhook` is the variable that holds an address
    which gets a document, `webhook_secret` the one with the secret that it is signed by."""

    github: bool = False
    gitlab: bool = False
    webhook: str | None = None
    webhook_secret: str | None = None

    @property
    def announces(self) -> bool:
        return self.github or self.gitlab or self.webhook is not None


def read_announce(table: Reader) -> AnnouncePolicy:
    """The table `[announce]`."""
    policy = AnnouncePolicy(
        github=table.flag("github", False),
        gitlab=table.flag("gitlab", False),
        webhook=table.parsed("webhook", "", _variable),
        webhook_secret=table.parsed("webhook_secret", "", _variable),
    )
    if policy.webhook_secret and not policy.webhook:
        table.note("webhook_secret", "signs what a webhook gets, and there is no webhook")
    table.close()
    return policy


def _variable(text: str) -> str | None:
    """The variable in `env:NAME`. Raises ValueError for anything else, a secret itself among it, which is not shown."""
    if not text:
        return None
    if (found := _VARIABLE.fullmatch(text)) is None:
        raise ValueError('must name a variable of the environment, such as "env:WEBHOOK_URL"')
    return found[1]
