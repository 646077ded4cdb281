"""Signatures in the OpenSSF Model Signing format, made of digests that are known: no file is read for them.

The library's own signer and verifier are used, with digests in place of what they would hash. What it writes has
nothing of chance in it afterwards: keys in order, and the envelope signed as RFC 6979 says, so that the same files,
signed again, are the same release.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagship.artifacts.manifest import SIGNATURE_FILE
from tagship.artifacts.trust.keys import PublicKey, SigningKey
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import scratch_folder
from tagship.system.installation import how_to_install
from tagship.system.json_files import parse_object
from tagship.system.modules import not_installed

# Where the library looks for what it needs; OpenSSL is a part that it imports and does not ask for.
_MODULES = ("model_signing", "OpenSSL")
# What of a downloaded repo is no file of a release: the Hub's own, git's, and what its client keeps beside a download.
_IGNORED = (SIGNATURE_FILE, ".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface")
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_CLIENT = "sigstore"


class NotSigned(ReleaseError):
    """A signature is not that of these files by this key; the message says why."""


def check_installed() -> None:
    """Raise ReleaseError where what signs models is not installed."""
    if missing := not_installed(_MODULES):
        raise ReleaseError(f"not installed: {', '.join(missing)}, which signing needs", remedy=how_to_install("trust"))


def sign(name: str, digests: Mapping[str, str], key: SigningKey) -> str:
    """The signature of files by their SHA-256 in hexadecimal, as the text of a Sigstore bundle; `name` is the model's.
    It is the same for the same files, unless the installed OpenSSL is older than 3.2."""
    from model_signing import signing

    with scratch_folder("signing") as folder, _readable(key.pem) as path:
        config = signing.Config().set_hashing_config(_known(digests))
        config.use_elliptic_key_signer(private_key=path).sign(Path(name), folder / SIGNATURE_FILE)
        text = _settled(json.loads((folder / SIGNATURE_FILE).read_text(encoding="utf-8")), key)
    verify(text.encode(), digests, key.public)
    return text


def sign_keyless(name: str, digests: Mapping[str, str], token: str) -> str:
    """The signature of files by the identity that a token is of, through Sigstore, as `sign`. Raises ToolError when
    Sigstore cannot be reached or refuses."""
    from model_signing import signing
    from sigstore.errors import Error

    try:
        with scratch_folder("signing") as folder:
            config = signing.Config().set_hashing_config(_known(digests)).use_sigstore_signer(identity_token=token)
            config.sign(Path(name), folder / SIGNATURE_FILE)
            return (folder / SIGNATURE_FILE).read_text(encoding="utf-8")
    except (Error, OSError, ValueError) as error:
        raise ToolError(
            f"Sigstore did not sign {name}: {error}",
            remedy="run the same command again; or sign by a key: [sign] key",
        ) from error


def identity_token() -> str:
    """A token that says who this job of CI is, for Sigstore. Raises ReleaseError where it is none, or gets none."""
    check_installed()
    from sigstore.errors import Error
    from sigstore.oidc import detect_credential

    try:
        token = detect_credential(_CLIENT)
    except (Error, OSError) as error:
        raise ReleaseError(
            f"[sign] keyless: this job gets no identity to sign by: {error}",
            remedy="give it one: permissions: id-token: write on GitHub, id_tokens: SIGSTORE_ID_TOKEN: aud: sigstore "
            "on GitLab",
        ) from None
    if not token:
        raise ReleaseError(
            "[sign] keyless signs by the identity of a job of CI, and this is none",
            remedy='release from CI, or sign by a key: [sign] key = "env:SIGNING_KEY"',
        )
    return str(token)


def verify(signature: bytes, digests: Mapping[str, str], key: PublicKey) -> None:
    """Check that a signature is of exactly these files (SHA-256 by path), by this key, as the library's own program
    does. Raises NotSigned."""
    check_installed()
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    with scratch_folder("signing") as folder:
        (folder / SIGNATURE_FILE).write_bytes(signature)
        (folder / "key.pub").write_bytes(key.pem)
        config = verifying.Config().set_hashing_config(_known(digests))
        try:
            config.use_elliptic_key_verifier(public_key=folder / "key.pub").verify(Path(), folder / SIGNATURE_FILE)
        except InvalidSignature:
            raise NotSigned("it was changed, or made by another key") from None
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:  # anybody may have written it
            raise NotSigned(" ".join(f"{error}".split())[:200] or "it is malformed") from None


def key_id_of(signature: bytes) -> str | None:
    """The id of the key that a signature says it is by; None where it names none, as one without a key. Raises
    ReleaseError for what is no signature."""
    material = parse_object(signature, SIGNATURE_FILE).get("verificationMaterial")
    key = material.get("publicKey") if isinstance(material, dict) else None
    hint = key.get("hint") if isinstance(key, dict) else None
    return hint if isinstance(hint, str) else None


def claimed(signature: bytes) -> dict[str, str]:
    """The files that a signature says it is of, by path, without looking whether it is right. Raises ReleaseError."""
    try:
        payload = parse_object(signature, SIGNATURE_FILE)["dsseEnvelope"]["payload"]
        said = parse_object(base64.b64decode(payload), f"the payload of {SIGNATURE_FILE}")["predicate"]["resources"]
        return {str(each["name"]): str(each["digest"]) for each in said}
    except (KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"{SIGNATURE_FILE} is malformed: {error!r:.200}") from None


def _known(digests: Mapping[str, str]) -> Any:
    """How the library hashes a model, where all digests are known already."""
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest

    class Known(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> manifest.Manifest:
            form = manifest.SerializationType.from_args(
                {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(_IGNORED)}
            )
            items = [form.new_item(path, Digest("sha256", bytes.fromhex(sha))) for path, sha in digests.items()]
            return manifest.Manifest(Path(model_path).name, items, form)

    return Known()


def _settled(bundle: dict[str, Any], key: SigningKey) -> str:
    """The bundle without what is different each time: the order of keys in its payload, and the signature's own random
    number (https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md says what is signed)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    envelope = bundle["dsseEnvelope"]
    payload = json.dumps(json.loads(base64.b64decode(envelope["payload"])), sort_keys=True).encode()
    private = load_pem_private_key(key.pem, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    hashed = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[private.curve.key_size]
    signed = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        signature = private.sign(signed, ec.ECDSA(hashed, deterministic_signing=True))
    except UnsupportedAlgorithm:
        signature = private.sign(signed, ec.ECDSA(hashed))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(bundle, indent=2, sort_keys=True) + "\n"


@contextmanager
def _readable(secret: bytes) -> Iterator[str]:
    """The path of something that can be read once, and is on no disk: a pipe, as its content fits into one."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(secret)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
