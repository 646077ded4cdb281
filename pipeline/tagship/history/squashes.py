"""All that one commit's message tells: its title, and the commits that were squashed into it.

GitHub, GitLab, Bitbucket and Gitea list those in the body as `* subject`; `git merge --squash` as `git log` does.
"""

import inspect
import re
from collections.abc import Mapping, Sequence

from tagship.history.conventional import NO_ALIASES, Change, Part, is_known_type, part_of, read_message
from tagship.history.forge_messages import has_number, unwrapped, without_number
from tagship.history.reverts import without_reverted_subjects

_BULLET = re.compile(r"[*+-] +(?P<text>\S.*)")
# What closes GitHub's list: the trailers of all of its commits follow.
_RULE = re.compile(r"-{3,}[ \t]*")
_LOGGED = re.compile(r"^commit [0-9a-f]{7,64}\n(?:[A-Z][A-Za-z]*: .*\n)+", re.MULTILINE)


def read_commit(message: str, aliases: Mapping[str, str] = NO_ALIASES) -> tuple[Change, ...]:
    """All changes that a message tells, that of its title first; never none.

    Of squashed commits those are told that matter more than the title says, or that break something; all that follow
    the convention where the title does not.
    """
    message = unwrapped(message)
    text, listed = _split(message)
    squashed = [read_message(item, aliases) for item in without_reverted_subjects(listed)]
    told = [change for change in squashed if is_known_type(change)]
    if not told:  # a list of something else
        return (read_message(message, aliases),)
    title = read_message(text, aliases)
    if is_known_type(title):
        more = [change for change in told if change.breaking or part_of(change) > part_of(title)]
        return (title, *(change for change in more if said(change) != said(title)))
    # Of the others nobody said that they do not matter.
    matters = max(map(part_of, told)) is Part.NONE and len(told) < len(squashed)
    return (*((title,) if matters else ()), *told)


def said(change: Change) -> tuple[str | None, str]:
    """What two changes have in common that say the same, one of them with the number of a pull request."""
    return change.type, without_number(change.description).casefold()


def _split(message: str) -> tuple[str, Sequence[str]]:
    """A message without the list of what was squashed into it, and the messages in that list, oldest first."""
    subject, _, body = message.partition("\n")
    if _LOGGED.search(body):
        head, *logged = _LOGGED.split(body)
        # git lists the newest first.
        return f"{subject}\n{head}", [inspect.cleandoc(item) for item in reversed(logged)]
    # Bullets of hand-written bodies are mostly hyphens: those count only below the title of a pull request.
    marks = ("*", "+", "-") if has_number(subject) else ("*",)
    kept: list[str] = [subject]
    items: list[list[str]] = []
    current = kept
    for line in body.split("\n"):
        if line.startswith(marks) and (bullet := _BULLET.fullmatch(line.rstrip())):
            current = [bullet["text"]]
            items.append(current)
        else:
            current = kept if _RULE.fullmatch(line) else current
            current.append(line)
    return "\n".join(kept), ["\n".join(item) for item in items]
