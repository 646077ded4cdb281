"""`[sign]` and `[publish]`: what releases are signed by, without the key itself in the policy."""

from pathlib import Path

import pytest
from tagship.policy.config import Config, parse_config
from tagship.policy.file import PolicyError

POLICY = '[project]\nnamespace = "acme"\n[formats.vllm]\n'


def parsed(text: str, folder: Path = Path("/policies")) -> Config:
    return parse_config(POLICY + text, folder / "release.toml", {})


def test_nothing_is_asked_for_by_default() -> None:
    """Without the tables nothing is signed, and nothing published beside the files."""
    config = parsed("")
    assert not config.sign.signs and not config.sign.checks
    assert not config.publish.provenance and not config.publish.sbom


def test_key_is_a_variable() -> None:
    """A key is named by the variable that holds it; what is signed says where it comes from, too."""
    config = parsed('[sign]\nkey = "env:SIGNING_KEY"\npublic_key = "signing.pub"\nolder_keys = ["a.pub"]\n')
    assert config.sign.older_keys == (Path("/policies/a.pub"),)
    assert (config.sign.key, config.sign.public_key) == ("SIGNING_KEY", Path("/policies/signing.pub"))
    assert config.sign.signs and config.publish.provenance and not config.publish.sbom


def test_public_key_alone_checks() -> None:
    """Who has the public key alone signs nothing, and still asks for signatures."""
    sign = parsed('[sign]\npublic_key = "signing.pub"\n').sign
    assert sign.checks and not sign.signs


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('key = "MIGHAgEAMBMG"', 'sign.key must name a variable of the environment, such as "env:SIGNING_KEY"'),
        ('key = "env:RELEASES"', "sign.key names a variable that is not called a secret"),
        ('key = "env:A_KEY"\npassword = "env:ITS_WORD"', "sign.password names a variable that is not called a secret"),
        ('password = "env:A_PASSWORD"', "sign.password is that of a key"),
        ('key = "env:A_KEY"\nkeyless = true', "sign.keyless signs without a key, and key names one"),
        ('first = "soon"', "sign.first must be a version"),
    ],
)
def test_mistakes(table: str, told: str) -> None:
    """Mistakes are told by their keys; a secret that was put into the policy is not repeated."""
    with pytest.raises(PolicyError) as caught:
        parsed(f"[sign]\n{table}\n")
    assert told in str(caught.value) and "MIGHAgEAMBMG" not in str(caught.value)
