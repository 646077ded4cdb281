"""Keys that releases are signed by: read from the environment, refused by what is wrong, never repeated."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tagship.artifacts.trust import bill, signature
from tagship.artifacts.trust.keys import read_public_key, read_signing_key
from tagship.policy.sign import SignPolicy
from tagship.system.errors import ReleaseError
from tagship.system.secrets import without_secrets

from tests.signing import private_pem, write_pair

POLICY = SignPolicy(key="SIGNING_KEY", password="SIGNING_KEY_PASSWORD")


def problem(folder: Path, policy: SignPolicy = POLICY, **environment: str) -> str:
    """What is said of an environment; it has a remedy, and nothing of what is in the variables."""
    with pytest.raises(ReleaseError) as caught:
        read_signing_key(policy, folder, environment)
    told = f"{caught.value} {caught.value.remedy}"
    assert caught.value.remedy and not [value for value in environment.values() if value and value in told]
    return str(caught.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_key_in_the_variable(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """A PEM is taken as it is, or with its line breaks written out; the key's `repr` shows nothing of it."""
    pem = private_pem(curve)
    key = read_signing_key(POLICY, tmp_path, {"SIGNING_KEY": pem})
    assert read_signing_key(POLICY, tmp_path, {"SIGNING_KEY": pem.replace("\n", "\\n")}) == key
    assert key.pem.decode() == pem and "PRIVATE" not in repr(key)


def test_path_in_the_variable(tmp_path: Path) -> None:
    """A path is below release.toml, or absolute; the public key in a file is that of the private one."""
    private, public = write_pair(tmp_path)
    by_name = read_signing_key(POLICY, tmp_path, {"SIGNING_KEY": "signing.pem"})
    assert by_name == read_signing_key(POLICY, Path("/"), {"SIGNING_KEY": str(private)})
    assert by_name.public == read_public_key(public) and len(by_name.public.id) == 64


def test_key_with_a_password(tmp_path: Path) -> None:
    """An encrypted key is opened by the password in its own variable, and refused without it or by another one."""
    pem = private_pem(password="open sesame")
    assert read_signing_key(POLICY, tmp_path, {"SIGNING_KEY": pem, "SIGNING_KEY_PASSWORD": "open sesame"})
    assert "is encrypted with a password" in problem(tmp_path, SignPolicy(key="SIGNING_KEY"), SIGNING_KEY=pem)
    assert "SIGNING_KEY_PASSWORD has none" in problem(tmp_path, SIGNING_KEY=pem)
    wrong = problem(tmp_path, SIGNING_KEY=pem, SIGNING_KEY_PASSWORD="let me in")
    assert "is not opened by the password" in wrong


def test_what_is_no_key(tmp_path: Path) -> None:
    """Nothing, what leads nowhere, what is damaged, and a public key are told apart."""
    _, public = write_pair(tmp_path)
    assert "SIGNING_KEY is not set" in problem(tmp_path)
    assert "holds neither a private key in PEM nor the path" in problem(tmp_path, SIGNING_KEY="MIGHAgEAMBMGByqG")
    assert "is no private key in PEM" in problem(tmp_path, SIGNING_KEY=private_pem()[:90])
    assert "is no private key in PEM" in problem(tmp_path, SIGNING_KEY=str(public))


def test_other_kinds(tmp_path: Path) -> None:
    """Keys of RSA, and of curves that the format does not have, are refused by name."""
    large = rsa.generate_private_key(65537, 2048)
    pem = large.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert "of another kind, RSA" in problem(tmp_path, SIGNING_KEY=pem)
    assert "of the curve secp256k1" in problem(tmp_path, SIGNING_KEY=private_pem(ec.SECP256K1()))


def test_public_key_that_is_private(tmp_path: Path) -> None:
    """A private key in the place of the public one, which is committed, is refused with a warning."""
    private, _ = write_pair(tmp_path)
    (tmp_path / "other").write_text("ssh-ed25519 AAAA")
    for path, told in ((private, "is a private key"), (tmp_path / "other", "no public key"), (tmp_path / "no", "read")):
        with pytest.raises(ReleaseError, match=told):
            read_public_key(path)


def test_workers_do_not_get_it() -> None:
    """Processes that run models get neither the key nor its password."""
    environment = {"SIGNING_KEY": "/somewhere/signing.pem", "SIGNING_KEY_PASSWORD": "open", "PEM": private_pem()}
    assert without_secrets(environment) == {}


@pytest.mark.parametrize(
    ("check", "named"), [(signature.check_installed, "model_signing, OpenSSL"), (bill.check_installed, "cyclonedx")]
)
def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, check: Callable[[], None], named: str) -> None:
    """Without the extra a release is refused, with the line that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ReleaseError, match=f"not installed: {named}") as caught:
        check()
    assert "trust]" in str(caught.value.remedy)


def test_without_cryptography(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is reading a key, of either kind, where nothing reads keys."""
    _, public = write_pair(tmp_path)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for read in (lambda: read_public_key(public), lambda: read_signing_key(POLICY, tmp_path, {"SIGNING_KEY": "x"})):
        with pytest.raises(ReleaseError, match="not installed: cryptography"):
            read()
