"""Keys that models are signed by, and the program that anybody checks signatures with."""

import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def private_pem(curve: ec.EllipticCurve | None = None, password: str | None = None) -> str:
    """A new private key."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    how = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def write_pair(folder: Path) -> tuple[Path, Path]:
    """A private key and its public one, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "signing.pem", folder / "signing.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def model_signing_verify(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    """`model_signing verify key`, as whoever downloaded a repo calls it."""
    signature = ["--signature", str(folder / "model.sig"), "--public_key", str(public)]
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder), *signature]
    return subprocess.run(command, capture_output=True, text=True)
