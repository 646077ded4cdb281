"""The key that a release is signed by: an elliptic curve's, in PEM, from a variable of the environment.

A private key is kept in memory alone: it is in no message, no file and no `repr`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from tagship.policy.sign import SignPolicy
from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

# Those of the OpenSSF Model Signing format, by the names that cryptography has for them.
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_MAKE_ONE = "openssl ecparam -name prime256v1 -genkey -noout -out signing.pem makes one"
_BEGINS = "-----BEGIN"
# A key has some hundred bytes; what is larger is another file.
_MOST_BYTES = 1 << 16


class PublicKey(Struct, frozen=True, kw_only=True):
    """A public key in PEM (SubjectPublicKeyInfo)."""

    pem: bytes

    @property
    def id(self) -> str:
        """The SHA-256 of it, in hexadecimal, as signatures of the OpenSSF Model Signing format name a key."""
        return hashlib.sha256(self.pem).hexdigest()


class SigningKey(Struct, frozen=True, kw_only=True):
    """A private key in PEM (PKCS #8, not encrypted), and its public one."""

    pem: bytes
    public: PublicKey

    def __repr__(self) -> str:
        return f"{type(self).__name__}(public={self.public!r})"


def read_signing_key(policy: SignPolicy, root: Path, environment: Mapping[str, str]) -> SigningKey:
    """The key that `[sign] key` names; a path in its variable is relative to `root`. Raises ReleaseError where there is
    none, it cannot be read, or nothing is signed by its kind."""
    check_cryptography()
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    assert policy.key is not None
    key = _private_key(policy, _pem(policy.key, root, environment), environment)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(pem=pem, public=_public(key.public_key()))


def read_public_key(path: Path) -> PublicKey:
    """The key in a file. Raises ReleaseError for anything else, a private key above all."""
    check_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        content = path.read_bytes()
        if b"PRIVATE KEY" in content:
            raise ReleaseError(
                f"[sign] public_key: {path} is a private key, and was meant to be for everybody",
                remedy=f"openssl ec -in {path.name} -pubout -out {path.stem}.pub, and name that; if {path.name} is "
                "committed, make another key",
            )
        key = load_pem_public_key(content)
    except OSError as error:
        raise ReleaseError(f"[sign] public_key: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ReleaseError(
            f"[sign] public_key: {path} is no public key in PEM",
            remedy="openssl ec -in signing.pem -pubout -out signing.pub writes one",
        ) from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _other_kind("[sign] public_key", key)
    return _public(key)


def check_cryptography() -> None:
    """Raise ReleaseError where what keys are read by is not installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ReleaseError("not installed: cryptography, which [sign] needs", remedy=how_to_install("trust")) from None


def _public(key: "EllipticCurvePublicKey") -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return PublicKey(pem=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _pem(variable: str, root: Path, environment: Mapping[str, str]) -> bytes:
    """What the variable holds, or the file that it names. What is in it is never repeated: it may be the key."""
    value = environment.get(variable, "").strip()
    if not value:
        raise ReleaseError(
            f"[sign] key: the variable {variable} is not set, so that nothing can be signed",
            remedy=f"set it to a private key in PEM, or to the path of one; {_MAKE_ONE}",
        )
    if value.startswith(_BEGINS):  # in a line, where something took the line breaks
        return value.replace("\\n", "\n").encode() + b"\n"
    try:
        with (root / Path(value).expanduser()).open("rb") as file:
            return file.read(_MOST_BYTES)
    except (OSError, ValueError, RuntimeError):
        raise ReleaseError(
            f"[sign] key: the variable {variable} holds neither a private key in PEM nor the path of a file that can "
            "be read",
            remedy=f"set it to either; {_MAKE_ONE}",
        ) from None


def _private_key(policy: SignPolicy, pem: bytes, environment: Mapping[str, str]) -> "EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = environment.get(policy.password, "").encode() if policy.password else b""
    where = f"[sign] key: what the variable {policy.key} leads to"
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not password:
        told = f"the variable {policy.password} has none" if policy.password else "[sign] password says where it is"
        raise ReleaseError(
            f"{where} is encrypted with a password, and {told}",
            remedy='say [sign] password = "env:SIGNING_KEY_PASSWORD", and set that variable',
        )
    try:
        key = load_pem_private_key(pem, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        told = "is not opened by the password" if encrypted else "is no private key in PEM"
        raise ReleaseError(f"{where} {told}", remedy=f"set it to one; {_MAKE_ONE}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise _other_kind(where, key)
    return key


def _other_kind(where: str, key: object) -> ReleaseError:
    curve = getattr(key, "curve", None)
    kind = f"of the curve {curve.name}" if curve else f"of another kind, {type(key).__name__}"
    return ReleaseError(
        f"{where}: the key is {kind}; models are signed by keys of the curves {', '.join(_CURVES.values())}",
        remedy=_MAKE_ONE,
    )
