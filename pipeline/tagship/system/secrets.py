"""What of an environment, a record or a file is somebody's secret: it is told neither to cards nor to foreign code, and
not published."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

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


class Format(Struct, frozen=True):
    """How a kind of secret is written: what each has in it (any of `marks`), and at most how far `before` that it
    begins."""

    pattern: str
    marks: tuple[str, ...]
    before: int = 0


# What is published is held against whole formats: a digest, a vocabulary's pieces and a name are no secrets. Sources:
# the services' own pages; the formats that GitHub's secret scanning knows.
FORMATS: Mapping[str, Format] = {
    "a token of Hugging Face": Format(r"\bhf_[A-Za-z0-9]{30,}\b", ("hf_",)),
    "an organisation's token of Hugging Face": Format(r"\bapi_org_[A-Za-z0-9]{30,}\b", ("api_org_",)),
    "a key of OpenAI": Format(r"\bsk-(?:proj-|svcacct-|admin-)?[\w-]{20,}T3BlbkFJ[\w-]{20,}", ("sk-",)),
    "a key of Anthropic": Format(r"\bsk-ant-[a-z0-9]+-[\w-]{80,}", ("sk-ant-",)),
    "a token of GitHub": Format(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b", ("gh",)),
    "a fine-grained token of GitHub": Format(r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", ("github_pat_",)),
    "a token of GitLab": Format(r"\bgl(?:pat|ptt|dt|rt|cbt|soat|ft)-[\w-]{20,}", ("gl",)),
    "a key of AWS": Format(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b", ("AKIA", "ASIA")),
    "a key of Google": Format(r"\bAIza[\w-]{35}(?![\w-])", ("AIza",)),
    "a token of Google": Format(r"\bya29\.[\w-]{60,}", ("ya29.",)),
    "a token of npm": Format(r"\bnpm_[A-Za-z0-9]{36}\b", ("npm_",)),
    "a token of PyPI": Format(r"\bpypi-AgE[\w-]{50,}", ("pypi-AgE",)),
    "a token of Slack": Format(r"\bxox[abeoprs]-(?:\d+-)+[A-Za-z0-9-]{10,}", ("xox",)),
    "a webhook": Format(
        r"https://(?:hooks\.slack\.com/services/T|discord(?:app)?\.com/api/webhooks/\d)[\w/-]{20,}",
        ("https://",),
    ),
    "a key of Stripe": Format(r"\b[rs]k_live_[A-Za-z0-9]{20,}", ("k_live_",), before=1),
    "a key of Replicate": Format(r"\br8_[A-Za-z0-9]{37}\b", ("r8_",)),
    "a key of Azure": Format(r"AccountKey=[A-Za-z0-9+/]{86}==", ("AccountKey=",)),
    "a web token": Format(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}", ("eyJ",)),
    "a private key": Format(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s*(?:\\n)?[\w+/:=]{16}", ("-----BEGIN ",)
    ),
    "a password in an address": Format(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@<>\"'${}]{1,60}:[^\s/@<>\"'${}*]{3,}@[\w.-]+", ("://",), before=21
    ),
}
# In any text: what lets somebody in.
TOKEN = re.compile("|".join(f"(?:{each.pattern})" for each in FORMATS.values()))
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
        for what, written in FORMATS.items()
        for match in _matches(content, written)
        if not is_placeholder(match[0])
    )
    for start, what in sorted(found):
        yield content.count(b"\n", 0, start) + 1, what


def _matches(content: bytes, written: Format) -> Iterator[re.Match[bytes]]:
    """What of a text is written so. It is looked for where its marks are, which are found ten times as quickly: a
    tokenizer has tens of MB."""
    for mark in map(str.encode, written.marks):
        end, at = 0, content.find(mark)
        while at >= 0:
            tried = (_compiled(written).match(content, start) for start in range(max(end, at - written.before), at + 1))
            if match := next(filter(None, tried), None):
                yield match
                end = match.end()
            at = content.find(mark, max(end, at + 1))


@cache
def _compiled(written: Format) -> re.Pattern[bytes]:
    return re.compile(written.pattern.encode())


def is_placeholder(value: bytes) -> bool:
    """Whether what is written as a secret says of itself that it is none."""
    return len(set(value)) < _FEW_LETTERS or any(word in value for word in _SAID_TO_BE_NONE)
