"""What of an environment, a record or a file is somebody's secret: it is told neither to cards nor to foreign code, and
not published."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tagship.system.errors import ReleaseError

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
# Shorter values are settings: a log in which each `true` is hidden is of no use.
_SHORTEST = 8
_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables that, by their names or values, are secrets or lead to them."""
    return {name: value for name, value in environment.items() if not _is_secret(name.upper(), value)}


def tokens_in(environment: Mapping[str, str]) -> set[str]:
    """The values of variables that are called tokens, passwords or the like, but for what is too short to be one."""
    return {
        value
        for name, value in environment.items()
        if name.upper().rpartition("_")[2].endswith(_ENDS) and len(value) >= _SHORTEST
    }


def _is_secret(name: str, value: str) -> bool:
    if name in _NO_SECRETS:
        return False
    named = name.startswith(_CLOUDS) or any(word in _WORDS or word.endswith(_ENDS) for word in name.split("_"))
    looks = SECRET_VALUE.search(value) and not _ENCODED_JSON.fullmatch(value)
    return bool(named or looks or _URL_WITH_PASSWORD.search(value))


# What is published is held against whole formats, each with what it begins with: a digest, a vocabulary's pieces and a
# name are no secrets. Sources: the services' own pages; the formats that GitHub's secret scanning knows.
_FORMATS: Mapping[str, tuple[str, str]] = {
    "a token of Hugging Face": ("hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
    "an organisation's token of Hugging Face": ("api_org_", r"\bapi_org_[A-Za-z0-9]{30,}\b"),
    "a key of OpenAI": ("sk-", r"\bsk-(?:proj-|svcacct-|admin-)?[\w-]{20,}T3BlbkFJ[\w-]{20,}"),
    "a key of Anthropic": ("sk-ant-", r"\bsk-ant-[a-z0-9]+-[\w-]{80,}"),
    "a token of GitHub": ("gh", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "a fine-grained token of GitHub": ("github_pat_", r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    "a token of GitLab": ("gl", r"\bgl(?:pat|ptt|dt|rt|cbt|soat|ft)-[\w-]{20,}"),
    "a key of AWS": ("A", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    "a key of Google": ("AIza", r"\bAIza[\w-]{35}(?![\w-])"),
    "a token of Google": ("ya29.", r"\bya29\.[\w-]{60,}"),
    "a token of npm": ("npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a token of PyPI": ("pypi-", r"\bpypi-AgE[\w-]{50,}"),
    "a token of Slack": ("xox", r"\bxox[abeoprs]-(?:\d+-)+[A-Za-z0-9-]{10,}"),
    "a webhook": (
        "https://",
        r"https://(?:hooks\.slack\.com/services/T|discord(?:app)?\.com/api/webhooks/\d)[\w/-]{20,}",
    ),
    "a key of Stripe": ("k_live_", r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
    "a key of Replicate": ("r8_", r"\br8_[A-Za-z0-9]{37}\b"),
    "a key of Azure": ("AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    "a web token": ("eyJ", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
    "a private key": ("PRIVATE KEY", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s*(?:\\n)?[\w+/:=]{16}"),
    "a password in an address": (
        "://",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@<>\"'${}]{1,60}:[^\s/@<>\"'${}*]{3,}@[\w.-]+",
    ),
}
# In any text: what lets somebody in.
TOKEN = re.compile("|".join(f"(?:{pattern})" for _, pattern in _FORMATS.values()))
_PATTERNS = {what: (begins.encode(), re.compile(pattern.encode())) for what, (begins, pattern) in _FORMATS.items()}
# Documents write a token of few letters, or say that it is none.
_FEW_LETTERS, _SAID_TO_BE_NONE = 11, (b"EXAMPLE", b"example", b"user:pass", b"xxxx", b"XXXX", b"....")
# Where git, too, looks for what no text has.
_START = 8000


def check_no_secrets(files: Mapping[str, Path]) -> None:
    """Raise ReleaseError that names file and line of each secret in text files that are to be published, by their
    names; the secret itself is not repeated."""
    found = [f"{name}, line {line}: {what}" for name, path in files.items() for line, what in secrets_in(path)]
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ReleaseError(
            f"what would be published has secrets in it: {'; '.join(found[:5])}{more}",
            remedy="take it out where it comes from (the run, the base, a template, release.toml, a commit's message), "
            "and have its owner make it invalid",
        )


def secrets_in(path: Path) -> Iterator[tuple[int, str]]:
    """The line and kind of each secret in a text file; a file of bytes has no lines, and is passed over."""
    with path.open("rb") as file:
        if b"\0" in file.read(_START):
            return
        file.seek(0)
        content = file.read()
    found = (
        (match.start(), what)
        for what, (begins, pattern) in _PATTERNS.items()
        if begins in content
        for match in pattern.finditer(content)
        if not _is_placeholder(match[0])
    )
    for start, what in sorted(found):
        yield content.count(b"\n", 0, start) + 1, what


def _is_placeholder(value: bytes) -> bool:
    return len(set(value)) < _FEW_LETTERS or any(word in value for word in _SAID_TO_BE_NONE)
