"""`[sign]`: by which key releases are signed, and are checked.

    [sign]
    key        = "env:SIGNING_KEY"               # the variable holds a private key in PEM, or the path of one
    password   = "env:SIGNING_KEY_PASSWORD"      # of a key that is encrypted
    public_key = "signing.pub"                   # by which `audit` checks; relative to release.toml
    older_keys = ["signing-2025.pub"]            # what another key signed before stays right
    first      = "1.3.0"                         # the first version that was signed: earlier ones need not be
    keyless    = true                            # in place of a key, in CI: Sigstore, by the job's identity

A private key is never a part of the policy, which is committed.
"""

import re
from pathlib import Path

from msgspec import Struct

from tagship.naming.version import is_semver
from tagship.system.secrets import without_secrets
from tagship.system.toml_reader import Reader

_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class SignPolicy(Struct, frozen=True, kw_only=True):
    """How releases are signed: `key` and `password` are names of environment variables. `older_keys` are public ones
    that were in use before; `first` is the version from which on a release that is not signed is none of ours."""

    key: str | None = None
    password: str | None = None
    public_key: Path | None = None
    older_keys: tuple[Path, ...] = ()
    keyless: bool = False
    first: str | None = None

    @property
    def signs(self) -> bool:
        """Whether releases are signed; without a key of either kind they are only checked."""
        return self.keyless or self.key is not None

    @property
    def checks(self) -> bool:
        """Whether a release that is not signed is none of ours."""
        return self.signs or self.public_key is not None


def read_sign(table: Reader, folder: Path) -> SignPolicy:
    """The table `[sign]`; `folder` is that of release.toml. The keys are read where they are needed."""
    policy = SignPolicy(
        key=_variable(table, "key"),
        password=_variable(table, "password"),
        public_key=table.optional_path("public_key"),
        older_keys=tuple(folder / name for name in table.texts("older_keys", ())),
        keyless=table.flag("keyless", False),
        first=table.optional_text("first"),
    )
    if policy.keyless and policy.key:
        table.note("keyless", "signs without a key, and key names one: keep one of them")
    if policy.password and not policy.key:
        table.note("password", "is that of a key: say key, too")
    if policy.first is not None and not is_semver(policy.first):
        table.note("first", f'must be a version such as "1.3.0", not {policy.first!r}')
    table.close()
    return policy


def _variable(table: Reader, key: str) -> str | None:
    """The name of the variable that a key names. What is in it is no part of a policy, which is committed."""
    text = table.optional_text(key)
    if text is None:
        return None
    found = _VARIABLE.fullmatch(text)
    if found is None:
        # Not repeated: it may be the secret itself.
        table.note(key, f'must name a variable of the environment, such as "env:SIGNING_{key.upper()}"')
    elif without_secrets({found[1]: ""}):
        # By its name it would be handed to the processes that run models.
        table.note(key, f'names a variable that is not called a secret: let it end in "_{key.upper()}"')
    return found[1] if found else None
