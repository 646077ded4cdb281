"""Conventional Commits 1.0.0: what a commit message says it changes, and how much that matters to users.

https://www.conventionalcommits.org/en/v1.0.0/. Any text is read; one that follows no convention is a
change without a type. A footer that matters is read wherever its line begins, not only in the last paragraph:
a breaking change that is missed costs more than one that is seen too early.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace


class Part(IntEnum):
    """The part of a SemVer version that a change raises."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


# The usual types, read in any case; any other type counts only in lower case, for `Note: x` is a sentence.
_PARTS = {
    "feat": Part.MINOR,
    "fix": Part.PATCH,
    "perf": Part.PATCH,
    "revert": Part.PATCH,
    **dict.fromkeys(("docs", "chore", "ci", "build", "test", "style", "refactor"), Part.NONE),
}
NO_ALIASES: Mapping[str, str] = MappingProxyType({})
# The mark stands before the scope in some repositories, and means the same.
_SUBJECT = re.compile(
    r"(?P<type>[A-Za-z][A-Za-z0-9_-]*)(?P<early>!)?(?:\((?P<scopes>[^()]*)\))?(?P<bang>!)?: +(?P<description>\S.*)"
)
_BREAKING_SUBJECT = re.compile(r"BREAKING[ -]CHANGE: *(?P<note>\S.*)")
# What `git commit --fixup` and `--squash` put before the subject of the commit that they belong to.
_BELONGS = re.compile(r"\A(?:(?:fixup|squash|amend)! +)+")
# `git revert` writes Reapply when it reverts a revert; GitHub adds the number of the pull request.
_QUOTED = re.compile(r'(?P<verb>Revert|Reapply) "(?P<subject>.+)"(?: \(#[0-9]+\))?')
# A footer's value goes on to the next footer, or to the line that `git cherry-pick -x` adds.
_FOOTER = re.compile(
    r"^(?:(?P<breaking>BREAKING[ -]CHANGE):"
    r"|(?P<token>[A-Za-z][A-Za-z0-9-]*)(?:: +| (?=#|GH-[0-9]))"
    r"|\(cherry picked from commit )",
    re.MULTILINE,
)
_ISSUE_FOOTER = re.compile(r"close[sd]?|fix(?:e[sd])?|resolve[sd]?|refs?|references?", re.IGNORECASE)
# Not `owner/name#12`, which is an issue of another repository, nor the end of an address or an entity.
# `!12` is a merge request of GitLab's.
_ISSUE = re.compile(r"(?<![\w&#/!-])(?:[#!]|(?i:GH)-)[1-9][0-9]*(?!\w)")
_CO_AUTHOR = re.compile(r"^Co-authored-by:[ \t]*(?P<name>[^<>\n]*?)[ \t]*<[^<>\n]*>", re.IGNORECASE | re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


class Change(Struct, frozen=True, kw_only=True):
    """What a commit message says.

    `subject` is its first line. `type` is in lower case, an alias being the type that it stands for; None without
    the convention: then `description` is the subject line.
    `breaking_note` is what users must know; None when the change breaks nothing. `references`
    are issues as written (`#12`, `GH-12`), each once, those of the subject first.
    """

    subject: str
    type: str | None
    scopes: tuple[str, ...]
    breaking: bool
    breaking_note: str | None
    description: str
    references: tuple[str, ...]


def read_message(message: str, aliases: Mapping[str, str] = NO_ALIASES) -> Change:
    """Read a whole commit message; nothing is raised, whatever the text. `aliases` are other words for the types, in
    lower case.

    `Revert "feat: x"` is a change of type revert with x's scopes and description; a revert of a revert, and
    `fixup!` or `squash!` before a subject, read as the subject itself.
    """
    subject, body = _subject_and_body(message)
    change = _read_subject(subject, aliases)
    footers = _read_footers(body)
    notes = [inspect.cleandoc(value).strip() for token, value in footers if token == "BREAKING CHANGE"]
    breaking = change.breaking or bool(notes)
    note = "\n\n".join(note for note in notes if note) or change.breaking_note or change.description
    return replace(
        change,
        subject=subject,
        breaking=breaking,
        breaking_note=note if breaking else None,
        references=_once(_issues(subject, footers)),
    )


def part_of(change: Change) -> Part:
    """The part of the version that a change raises.

    A subject without the convention raises the patch: something was changed, and nobody said that it
    does not matter.
    """
    if change.breaking:
        return Part.MAJOR
    if change.type is None:
        return Part.PATCH
    return _PARTS.get(change.type, Part.NONE)


def is_known_type(change: Change) -> bool:
    """Whether a change is of a type that says how much it matters, or breaks something."""
    return change.breaking or change.type in _PARTS


def co_authors(message: str) -> tuple[str, ...]:
    """The names in the `Co-authored-by: Name <mail>` trailers, each once, in their order."""
    _, body = _subject_and_body(message)
    return _once(found["name"] for found in _CO_AUTHOR.finditer(body) if found["name"])


def _subject_and_body(message: str) -> tuple[str, str]:
    subject, _, body = message.replace("\r\n", "\n").strip().partition("\n")
    return subject.rstrip(), body


def _read_subject(subject: str, aliases: Mapping[str, str]) -> Change:
    reverted = False
    subject = _BELONGS.sub("", subject)
    while (quoted := _QUOTED.fullmatch(subject)) is not None:
        reverted ^= quoted["verb"] == "Revert"
        subject = _BELONGS.sub("", quoted["subject"])
    change = _read_plain_subject(subject, aliases)
    # To take back a breaking change breaks nothing for those who never got it; a footer can say otherwise.
    return replace(change, type="revert", breaking=False, breaking_note=None) if reverted else change


def _read_plain_subject(subject: str, aliases: Mapping[str, str]) -> Change:
    unconventional = _BREAKING_SUBJECT.fullmatch(subject)
    found = _SUBJECT.fullmatch(subject)
    kind = aliases.get(found["type"].lower(), found["type"].lower()) if found else ""
    bang = found is not None and (found["bang"] or found["early"]) is not None
    if found is None or not (bang or found["type"].islower() or kind in _PARTS):
        return Change(
            subject=subject,
            type=None,
            scopes=(),
            breaking=unconventional is not None,
            breaking_note=unconventional["note"] if unconventional else None,
            description=subject,
            references=(),
        )
    return Change(
        subject=subject,
        type=kind,
        scopes=_once(scope.strip() for scope in re.split("[,/]", found["scopes"] or "") if scope.strip()),
        breaking=bang,
        breaking_note=None,
        description=found["description"],
        references=(),
    )


def _read_footers(body: str) -> list[tuple[str, str]]:
    """Token and value of each footer; the value has its newlines."""
    found = list(_FOOTER.finditer(body))
    ends = [*(footer.start() for footer in found), len(body)][1:]
    return [
        ("BREAKING CHANGE" if footer["breaking"] else footer["token"] or "", body[footer.end() : end])
        for footer, end in zip(found, ends, strict=True)
    ]


def _issues(subject: str, footers: list[tuple[str, str]]) -> Iterable[str]:
    yield from _ISSUE.findall(subject)
    for token, value in footers:
        if _ISSUE_FOOTER.fullmatch(token):
            # A paragraph after `Closes #1` is prose: an issue that it mentions is not closed.
            yield from _ISSUE.findall(_BLANK_LINE.split(value, maxsplit=1)[0])


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
