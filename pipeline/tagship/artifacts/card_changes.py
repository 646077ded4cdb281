"""What is changed of a published card later: where it leads to, and that its version was withdrawn or came back.

A card on main may say more than the one that was released, which stays where its tag is. Whatever is added here can be
taken off again to the byte, so that anybody can tell whether a card is the one that was released but for that.
"""

import json
import re

from tagship.hub_server.cards import BadCard, metadata
from tagship.system.errors import ReleaseError

_NEXT = "new_version"
_BEGIN, _END = "<!-- tagship: since the release -->", "<!-- /tagship -->"
_FRONT_MATTER = re.compile(
    r"\A(?P<head>\s*---[ \t]*\r?\n)(?P<yaml>.*?)(?P<foot>^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE
)
# With lines that go on with its value.
_NEXT_LINE = re.compile(rf"^[\"']?{_NEXT}[\"']?[ \t]*:.*(?:\n[ \t]+.*)*(?:\n|\Z)", re.MULTILINE)
_NOTICE = re.compile(rf"{re.escape(_BEGIN)}\n(?P<said>.*?)\n{re.escape(_END)}\n\n", re.DOTALL)
_WITHDRAWN = "**Withdrawn.**"


def leads_to(card: str) -> str | None:
    """The repo that a card names as the next version. Raises ReleaseError for a card whose metadata cannot be read."""
    try:
        said = metadata(card).get(_NEXT)
    except BadCard as error:
        raise ReleaseError(f"a card cannot be read: {error}", remedy="correct its metadata on the Hub") from None
    return None if said is None else str(said)


def is_withdrawn(card: str) -> bool:
    """Whether a card says that its version was withdrawn."""
    return any(_WITHDRAWN in found["said"] for found in _NOTICE.finditer(card))


def withdrawn_notice(version: str, live: str | None) -> str:
    """That a version is not to be used any more: `live` is what is, in Markdown, None where readers cannot see it."""
    instead = f" Use {live}." if live else ""
    return f"> [!WARNING]\n> {_WITHDRAWN} This is {version}, which was taken back.{instead}"


def restored_notice(version: str, withdrawn: str) -> str:
    """That a repo holds an earlier version again."""
    return f"> [!NOTE]\n> This is {version} again: {withdrawn} was taken back."


def changed(card: str, *, next_version: str | None, notice: str | None = None) -> str:
    """A card that leads to a repo, or to none, with a notice before all that it says, or without. All else is as it
    was, and another call takes what this one added off again."""
    found = _FRONT_MATTER.match(card)
    head, said, foot = (found["head"], found["yaml"], found["foot"]) if found else ("---\n", "", "---\n")
    body = _NOTICE.sub("", card[found.end() :] if found else card)
    said = _NEXT_LINE.sub("", said)
    if next_version is not None:
        said += f"{_NEXT}: {json.dumps(next_version)}\n"
    added = f"{_BEGIN}\n{notice}\n{_END}\n\n" if notice else ""
    return f"{head}{said}{foot}{added}{body}" if said else f"{added}{body}"


def same_but_for_changes(card: str, released: str) -> bool:
    """Whether a card is the one that was released, but for what `changed` changes."""
    return changed(card, next_version=None) == changed(released, next_version=None)
