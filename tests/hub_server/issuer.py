"""A CI that signs who its jobs are, as GitHub and GitLab do."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://ci.example.org"
CLAIMS = {"repository": "acme/train"}


class Issuer:
    """Has a key, and signs identities with it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def write_keys(self, path: Path) -> Path:
        """The public keys, as `jwks_uri` gives them."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        path.write_text(json.dumps({"keys": [{**public, "kid": "1", "alg": "ES256", "use": "sig"}]}))
        return path

    def identity(
        self, audience: str, *, key: Any = None, kid: str = "1", algorithm: str = "ES256", **claims: Any
    ) -> str:
        """Who a job is, for a Hub; a claim that is None is left out."""
        said = {
            "iss": ISSUER,
            "aud": audience,
            "sub": "repo:acme/train:ref:refs/tags/v1.0.0",
            "exp": int(time.time()) + 300,
            **CLAIMS,
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key or self._key, algorithm=algorithm, headers={"kid": kid})
