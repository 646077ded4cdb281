"""Short-lived permissions that travel inside a URL or a token, as S3's signed URLs do.

The client uploads an LFS file, and fetches a xorb, without its Authorization header; what it was
allowed to do is in the URL that the Hub gave it.
"""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from msgspec import Struct

LIFETIME_SECONDS = 3600
_EXPIRY_DIGITS = 12


class Signer(Struct, frozen=True):
    """Signs a scope such as `lfs-put:<sha256>` with the secret of one root folder."""

    secret: bytes

    @classmethod
    def of_root(cls, root: Path) -> "Signer":
        """The signer of `root`; its secret is made on first use and shared by all servers on that root."""
        path = root / "secret"
        if not path.exists():
            fresh = root / "tmp" / f"secret.{secrets.token_hex(8)}"
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # unlike a rename, it loses to a server that was faster
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return cls(path.read_bytes())

    @property
    def root_id(self) -> str:
        """A name for the root folder that tells nothing about its secret."""
        return hmac.new(self.secret, b"root", hashlib.sha256).hexdigest()[:16]

    def grant(self, scope: str) -> tuple[str, int]:
        """A permission for `scope` and the second (Unix time) at which it ends."""
        expiry = int(time.time()) + LIFETIME_SECONDS
        return f"{expiry}.{self._signature(scope, expiry)}", expiry

    def allows(self, scope: str, grant: str) -> bool:
        """Whether `grant` was given for exactly this scope and has not ended."""
        expiry, _, signature = grant.partition(".")
        return (
            expiry.isascii()
            and expiry.isdigit()
            and len(expiry) <= _EXPIRY_DIGITS
            and int(expiry) >= time.time()
            and hmac.compare_digest(self._signature(scope, int(expiry)).encode(), signature.encode())
        )

    def _signature(self, scope: str, expiry: int) -> str:
        return hmac.new(self.secret, f"{scope}\n{expiry}".encode(), hashlib.sha256).hexdigest()
