"""What of an environment, or of a record, is somebody's secret: it is told neither to cards nor to foreign code."""

import re
from collections.abc import Mapping

# How tokens of well-known services begin.
SECRET_VALUE = re.compile(
    r"\b(?:hf_|sk-|gh[pousr]_|github_pat_|glpat-|AKIA|AIza|npm_|pypi-|xox[abp]-|eyJ)[\w-]{8}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|https://hooks\."
)
# Settings that are handed on begin as a web token does, which has three parts.
_ENCODED_JSON = re.compile(r"eyJ[\w+/=-]*")
# A URL with a password in it, as proxies and databases have.
_URL_WITH_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]+@")
# Words of names between underscores, and ends of words: TOKENIZERS_PARALLELISM is no token.
_WORDS = frozenset({"KEY", "KEYS", "PASS", "PAT", "PWD", "AUTH", "COOKIE", "DSN", "SESSION", "WEBHOOK"})
# The working directory, which a shell keeps.
_NO_SECRETS = ("PWD", "OLDPWD")
_ENDS = (
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
)
_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables that, by their names or values, are secrets or lead to them."""
    return {name: value for name, value in environment.items() if not _is_secret(name.upper(), value)}


def _is_secret(name: str, value: str) -> bool:
    if name in _NO_SECRETS:
        return False
    named = name.startswith(_CLOUDS) or any(word in _WORDS or word.endswith(_ENDS) for word in name.split("_"))
    looks = SECRET_VALUE.search(value) and not _ENCODED_JSON.fullmatch(value)
    return bool(named or looks or _URL_WITH_PASSWORD.search(value))
