"""What the Hub asks of a file that git itself is to hold, whether a commit or a push brings it."""

import re

from tagship.hub_server.cards import BadCard, check

MAX_PLAIN_BYTES = 10 << 20
CARD = "README.md"

# Tokens by the formats that their services give them, whole, so that no digest is taken for one.
_SECRETS = re.compile(
    rb"\b(?:hf_[A-Za-z0-9]{34}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82}|glpat-[\w-]{20}|AKIA[0-9A-Z]{16}"
    rb"|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50}|xox[abp]-[0-9]{10}[\w-]{20}"
    rb"|sk-(?:proj-|ant-)?[\w-]{40})"
    rb"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s"
)


def size_problem(size: int) -> str | None:
    """Why a plain file of so many bytes is refused, or None."""
    if size <= MAX_PLAIN_BYTES:
        return None
    return f"has {size:,} bytes, and {MAX_PLAIN_BYTES:,} are allowed without LFS: track it with git-lfs, or use Xet"


def content_problem(path: str, content: bytes) -> str | None:
    """Why a plain file with this content is refused, or None: a secret in it, or a card that the Hub does not take."""
    if secret := _SECRETS.search(content):
        line = content.count(b"\n", 0, secret.start()) + 1
        kind = secret[0][:4].decode("ascii", "replace")
        return f"holds what looks like a secret ({kind}…) in line {line}: take it out, and revoke it"
    if path == CARD:
        try:
            check(content.decode(errors="replace"))
        except BadCard as error:
            return f"has metadata that the Hub does not take: {' '.join(str(error).split())}"
    return None


def is_binary(sample: bytes) -> bool:
    """Whether a file that begins so is no text in UTF-8."""
    if b"\0" in sample:
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character, which has four bytes at most.
        return error.start < len(sample) - 3
    return False
