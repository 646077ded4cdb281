"""What forges write around the title of a pull request in a commit's message.

GitHub, GitLab, Bitbucket, Gitea and Azure put a line of their own before the title, or after it.
"""

import re

# A first line that only says what was merged: the title is the next paragraph.
_MERGED = re.compile(
    r"(?:Merge pull request (?P<github>#[0-9]+) from \S+"
    r"|Merged in \S+ \(pull request (?P<bitbucket>#[0-9]+)\)"
    r"|Merge (?:remote-tracking )?(?:branch|branches|tag|commit)\b.*)"
)
# A first line with the title in it: Gitea, Bitbucket's server, Azure.
_TITLED = re.compile(
    r"Merge pull request '(?P<gitea>.+)' \((?P<gitea_number>[#!][0-9]+)\) from \S+ into \S+"
    r"|Pull request (?P<server_number>#[0-9]+): (?P<server>.+)"
    r"|Merged PR (?P<azure_number>[0-9]+): (?P<azure>.+)"
)
_MERGE_REQUEST = re.compile(r"^See merge request \S*(?P<number>![0-9]+)[ \t]*\n?", re.MULTILINE)
_NUMBER = re.compile(r" ?\((?:[#!]|pull request #)[0-9]+\)\Z")


def unwrapped(message: str) -> str:
    """A message without what a forge says of the merge: the title is its first line, with the number of the pull
    request behind it. Any other message as it is, with `\\n` as line ends."""
    message = message.replace("\r\n", "\n").strip()
    subject, _, body = message.partition("\n")
    subject = subject.rstrip()
    if titled := _TITLED.fullmatch(subject):
        title = titled["gitea"] or titled["server"] or titled["azure"]
        number = titled["gitea_number"] or titled["server_number"] or f"#{titled['azure_number']}"
        return _joined(title, number, body)
    request = _MERGE_REQUEST.search(body)
    body = _MERGE_REQUEST.sub("", body)
    merged = _MERGED.fullmatch(subject)
    if merged and body.strip():
        subject, _, body = body.strip().partition("\n")
    elif merged or not request:
        return message
    number = merged and (merged["github"] or merged["bitbucket"])
    return _joined(subject.rstrip(), number or (request["number"] if request else ""), body)


def without_number(subject: str) -> str:
    """A subject without the number of the pull request that forges write behind it."""
    return _NUMBER.sub("", subject)


def has_number(subject: str) -> bool:
    """Whether a subject ends with the number of a pull request, as forges write it."""
    return _NUMBER.search(subject) is not None


def _joined(title: str, number: str, body: str) -> str:
    title = title if not number or has_number(title) else f"{title} ({number})"
    return f"{title}\n{body}".rstrip()
