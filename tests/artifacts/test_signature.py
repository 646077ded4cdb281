"""Signatures in the OpenSSF Model Signing format: made of digests alone, checked by the library's own program."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tagship.artifacts.manifest import list_files
from tagship.artifacts.trust.keys import SigningKey, read_public_key, read_signing_key
from tagship.artifacts.trust.signature import NotSigned, claimed, identity_token, key_id_of, sign, verify
from tagship.policy.sign import SignPolicy
from tagship.system.errors import ReleaseError

from tests.signing import model_signing_verify, private_pem, write_pair

FILES = {"model.safetensors": "0" * 64, "a folder/é.json": "1" * 64}


def key_of(pem: str) -> SigningKey:
    return read_signing_key(SignPolicy(key="SIGNING_KEY"), Path(), {"SIGNING_KEY": pem})


@pytest.fixture
def key() -> SigningKey:
    return key_of(private_pem())


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """What somebody downloaded: the files of a release, and what the Hub and its client put beside them."""
    folder = tmp_path / "snapshot"
    (folder / "a folder").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "a folder/é.json").write_text("{}")
    return folder


def test_the_library_s_own_program_takes_it(snapshot: Path, tmp_path: Path) -> None:
    """What was signed by digests is verified by the files: with the Hub's own beside them, not with one byte changed,
    one file more, or one less."""
    private, public = write_pair(tmp_path)
    digests = {entry.path: entry.sha256 for entry in list_files(snapshot)}
    (snapshot / "model.sig").write_text(sign("it", digests, key_of(private.read_text())))
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (snapshot / ".cache/huggingface").mkdir(parents=True)
    (snapshot / ".cache/huggingface/it.lock").touch()
    done = model_signing_verify(snapshot, public)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr

    flipped = bytearray(1000)
    flipped[500] = 1
    (snapshot / "model.safetensors").write_bytes(flipped)
    assert "model.safetensors" in model_signing_verify(snapshot, public).stderr
    (snapshot / "model.safetensors").write_bytes(bytes(1000))
    (snapshot / "extra.py").touch()
    assert "extra.py" in model_signing_verify(snapshot, public).stderr
    (snapshot / "extra.py").unlink()
    (snapshot / "a folder/é.json").unlink()
    assert model_signing_verify(snapshot, public).returncode == 1


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_same_files_same_signature(curve: ec.EllipticCurve) -> None:
    """Signed again, the same files have the same signature, which names its key."""
    key = key_of(private_pem(curve))
    text = sign("it", FILES, key)
    assert sign("it", dict(reversed(FILES.items())), key) == text
    assert key_id_of(text.encode()) == key.public.id and claimed(text.encode()) == FILES
    verify(text.encode(), FILES, key.public)


def test_what_was_changed(key: SigningKey) -> None:
    """Another digest, a file more or less, another key, and a signature that was edited are refused."""
    signature = sign("it", FILES, key).encode()
    for other in ({**FILES, "model.safetensors": "2" * 64}, {**FILES, "b": "3" * 64}, {"model.safetensors": "0" * 64}):
        with pytest.raises(NotSigned, match="mismatch"):
            verify(signature, other, key.public)
    with pytest.raises(NotSigned, match="Key mismatch"):
        verify(signature, FILES, key_of(private_pem()).public)


def test_forged_payload(key: SigningKey) -> None:
    """A payload that says other files, with the signature of the first, is refused."""
    bundle = json.loads(sign("it", FILES, key))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"0" * 64, b"2" * 64)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(NotSigned):
        verify(json.dumps(bundle).encode(), FILES | {"model.safetensors": "2" * 64}, key.public)


def test_key_that_only_calls_itself_the_right_one(key: SigningKey) -> None:
    """A signature by another key that names this one is refused."""
    bundle = json.loads(sign("it", FILES, key_of(private_pem())))
    bundle["verificationMaterial"]["publicKey"]["hint"] = key.public.id
    with pytest.raises(NotSigned, match="changed, or made by another key"):
        verify(json.dumps(bundle).encode(), FILES, key.public)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"verificationMaterial": {}, "dsseEnvelope": 3}', b"\xff"])
def test_what_is_no_signature(key: SigningKey, content: bytes) -> None:
    """Anything else is told as that, in a line."""
    with pytest.raises(NotSigned) as caught:
        verify(content, FILES, key.public)
    assert "\n" not in str(caught.value)
    with pytest.raises(ReleaseError):
        claimed(content)


def test_key_is_on_no_disk(key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that is written while it signs, which is kept here, nothing has the key in it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    sign("it", FILES, key)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"model.sig", "key.pub"}
    assert not [path for path in written if b"PRIVATE" in path.read_bytes()]


def test_keyless_outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the identity of a job nobody is asked to log in: it is refused."""
    for variable in ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ReleaseError, match="this is none") as caught:
        identity_token()
    assert caught.value.remedy


def test_keyless_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of GitHub that may not have an identity is told how to give it one."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    with pytest.raises(ReleaseError, match="gets no identity") as caught:
        identity_token()
    assert "id-token: write" in str(caught.value.remedy)


def test_public_key_of_a_file(tmp_path: Path) -> None:
    """The id is that of the file's own text, as openssl writes it."""
    _, public = write_pair(tmp_path)
    assert read_public_key(public).id == hashlib.sha256(public.read_bytes()).hexdigest()
