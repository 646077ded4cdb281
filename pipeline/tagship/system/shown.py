"""Text of others as people get to see it: in a terminal, on a card.

Commits, tags, templates and servers say what they like. What moves a cursor or turns the direction of writing is shown
by its number in place of doing it; what lets somebody in, a password in an address, a token, is not shown.
"""

import io
import re
from pathlib import Path
from typing import TextIO

from tagship.system.secrets import TOKEN

# Control characters but tab and line feed; what embeds or overrides the direction of writing (Unicode TR 9: "Trojan
# Source"); what ends lines for some; halves of characters. Marks that right-to-left text needs are none of them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# Who asks, in an address; git's own user is no secret.
_USER = re.compile(r"(?<=://)(?!git@)[^/\s@'\"<>]+@")
_QUERY = re.compile(
    r"([?&;](?:access_?|auth_?|refresh_?|private_?|id_?)?(?:token|sig|signature|key|api_?key|password|pass|pwd|secret|auth"
    r"|grant|credential|code|jwt|x-amz-[\w-]+|x-goog-[\w-]+)=)[^&#\s'\"<>]+",
    re.IGNORECASE,
)


def visible(text: str) -> str:
    """A text with all that would not be seen written as its number, such as \\x1b or \\u202e."""
    return _UNSEEN.sub(lambda found: _number(found[0]), text.replace("\r\n", "\n"))


def visible_json(text: str) -> str:
    """The same for a document of JSON, whose strings it leaves what they are."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def masked(text: str) -> str:
    """A text without passwords in addresses, without what lets somebody in by a query, and without tokens."""
    return TOKEN.sub("***", _QUERY.sub(r"\1***", _USER.sub("***@", text)))


def relative(text: str, folder: Path | None = None) -> str:
    """A text in which paths below a folder, the one where people stand, begin there."""
    try:
        here = str(folder or Path.cwd()).rstrip("/")
    except FileNotFoundError:  # somebody removed it meanwhile, which the text may be about
        return text
    return re.sub(rf"(?<![\w./~-]){re.escape(here)}/(?=[^\s/])", "", text) if here else text


def shown(text: str) -> str:
    """A text as a terminal gets it."""
    return visible(masked(text))


class ShownOutput(io.TextIOBase):
    """An output to which everything is written so that it can be seen; `as_json` is whether that is JSON."""

    def __init__(self, output: TextIO, *, as_json: bool) -> None:
        self._output = output
        self._seen = visible_json if as_json else visible

    def write(self, text: str) -> int:
        self._output.write(self._seen(text))
        return len(text)

    def flush(self) -> None:
        self._output.flush()

    def fileno(self) -> int:
        return self._output.fileno()

    def isatty(self) -> bool:
        return self._output.isatty()


def _number(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
