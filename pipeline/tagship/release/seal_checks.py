"""What a release would be sealed by, as the policy asks: looked at before anything is exported, and told on cards."""

import os
from collections.abc import Mapping

from tagship.artifacts.card import CardSeals
from tagship.artifacts.trust import bill, signature
from tagship.artifacts.trust.keys import PublicKey, SigningKey, read_public_key, read_signing_key
from tagship.policy.config import Config
from tagship.release.plan import Plan
from tagship.system.errors import ReleaseError


def asks_for_seals(config: Config) -> bool:
    """Whether the policy asks for any of bill of materials, provenance and signature."""
    return config.sign.signs or config.publish.provenance or config.publish.sbom


def is_signed(plan: Plan) -> bool:
    """Whether a release is signed. Without a key it is not on the embedded Hub: a rehearsal has no place in Sigstore's
    log, which is for everybody and forgets nothing."""
    return plan.config.sign.key is not None or (plan.config.sign.keyless and not plan.embedded)


def check_sealable(plan: Plan, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ReleaseError where a release could not be signed, or described, as the policy asks: no key, one of another
    kind or of another public key, no identity, or something that is not installed."""
    config = plan.config
    if config.publish.sbom:
        bill.check_installed()
    if is_signed(plan):
        signature.check_installed()
    if is_signed(plan) and config.sign.keyless:
        signature.identity_token()
    key = signing_key(config, environment)
    if key and config.sign.public_key and (other := read_public_key(config.sign.public_key)) != key.public:
        raise ReleaseError(
            f"[sign] key and public_key are not of one pair: {config.sign.public_key.name} is {other.id[:12]}…, and "
            f"that of the key is {key.public.id[:12]}…",
            remedy=f"openssl ec -in KEY -pubout -out {config.sign.public_key.name} writes the one that belongs to it",
        )


def signing_key(config: Config, environment: Mapping[str, str] = os.environ) -> SigningKey | None:
    """The key that the policy names. Raises ReleaseError where it names one that cannot be used."""
    return read_signing_key(config.sign, config.root, environment) if config.sign.key else None


def checking_key(config: Config, environment: Mapping[str, str] = os.environ) -> PublicKey | None:
    """The key that signatures are checked by: the public one that the policy names, else that of the private one, where
    it is at hand. Raises ReleaseError for one that cannot be used."""
    if config.sign.public_key:
        return read_public_key(config.sign.public_key)
    if config.sign.key and environment.get(config.sign.key):
        return read_signing_key(config.sign, config.root, environment).public
    return None


def checking_keys(config: Config) -> tuple[PublicKey, ...]:
    """The keys by any of which a release may be signed: `checking_key`, and those that were in use before. Raises
    ReleaseError for one that cannot be used, and where what checks signatures is not installed."""
    newest = checking_key(config)
    keys = (*((newest,) if newest else ()), *map(read_public_key, config.sign.older_keys))
    if keys:
        signature.check_installed()
    return keys


def seals_of(plan: Plan) -> CardSeals | None:
    """What a card says of how its repo is checked."""
    config = plan.config
    if not (plan.publishes and asks_for_seals(config)):
        return None
    key = checking_key(config) if config.sign.key else None
    public = config.sign.public_key if config.sign.key else None
    inside = public is not None and public.is_relative_to(config.root)
    return CardSeals(
        signed=is_signed(plan),
        keyless=config.sign.keyless,
        key_id=key.id if key else None,
        public_key=public.relative_to(config.root).as_posix() if public and inside else None,
        provenance=config.publish.provenance,
        sbom=config.publish.sbom,
    )
