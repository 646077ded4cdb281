"""Titles of versions in changelogs, as people and tools write them: which version they name, and the next one alike.

`[1.0.0] - 2026-01-02` (Keep a Changelog), `[1.0.0](https://…/compare/v0.9.0...v1.0.0) (2026-01-02)` (semantic-release,
release-please, standard-version), `v1.0.0 (2026-01-02)` (commitizen), `1.0.0` (changesets), `name 1.0.0 (2026-01-02)`
(towncrier), `Noteworthy changes in release 1.0 (2026-01-02) [stable]` (GNU).
"""

import re
from datetime import date as Date

from msgspec import Struct

from tagship.history.changelog_links import following_url

# A version with what a tag has before it: v1.0, ollama-v1.0.0, @scope/name@1.0.0; or a date that is the version.
_NAME = re.compile(
    r"(?<![\w.])(?P<prefix>(?:[A-Za-z@](?:[\w./@-]*[-@/_])?)?(?:[vV]\.?)?)"
    r"(?P<number>[0-9]+(?:\.[0-9]+)+(?:[-+.]?[0-9A-Za-z]+(?:[-+.][0-9A-Za-z]+)*)?|[0-9]{4}-[0-9]{2}-[0-9]{2})(?![\w/])"
)
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DATE = re.compile(
    rf"[0-9]{{4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}|[0-9]{{1,2}}[-/.][0-9]{{1,2}}[-/.][0-9]{{4}}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)? {_MONTH},? [0-9]{{4}}|{_MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}}"
)
# Words for a version, which may stand in front of it.
_LEADING_WORD = re.compile(
    r"versions?|ver|v|release[sd]?|rev|revision|tag|update|the|changes?|changelog|note(?:s|worthy)?|what'?s|new|in|for|of|to",
    re.IGNORECASE,
)
# Hyphens and dashes.
_DASHES = "\\-\u2013\u2014"
# What may stand between a version and its date.
_BETWEEN = re.compile(rf"[\s{_DASHES}:,;/|(\[\])*_`]*(?:(?:released?|on)[\s:(]*)*", re.IGNORECASE)
_FOLLOWS = re.compile(rf"[\s*_`\])]*(?:$|[{_DASHES}:,;/|(\[]|\((?:un)?released|released\b)", re.IGNORECASE)
_UNRELEASED = re.compile(
    r"unreleased\b.*|(?:up)?coming(?: (?:release|version|changes))?|next(?: (?:release|version))?|vnext|head|trunk"
    r"|(?:in )?development",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<[^>]*>|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|\\")
_TARGET = re.compile(r"\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])")


class Title(Struct, frozen=True, kw_only=True):
    """A title that names a version. `raw` is the whole of it as it is written, `name` the version or tag in it."""

    raw: str
    name: str
    date: str | None


def read_title(raw: str, *, strict: bool = False) -> Title | None:
    """The version that a title names, or None. `strict` passes over what goes on as a sentence (`3.8 is gone`)."""
    shown = _plain(raw)
    found = _NAME.search(shown)
    if found is None:
        return None
    before, after = shown[: found.start()], shown[found.end() :]
    prefix = re.sub(r"(?i)\A(?:version|release|ver|rev)[-_/]", "", found["prefix"])
    dated = _DATE.search(after)
    near = dated is not None and _BETWEEN.fullmatch(after[: dated.start()]) is not None
    if not _leads(before, dated=near) or (strict and not near and not _FOLLOWS.match(after)):
        return None
    return Title(raw=raw, name=prefix + found["number"], date=dated[0] if dated and near else None)


def names_version(line: str) -> bool:
    """Whether a line names a version of three numbers outside of its links' addresses."""
    return re.search(r"(?<![\w./])[vV]?[0-9]+\.[0-9]+\.[0-9]+", re.sub(r"\S+://\S+", "", _plain(line))) is not None


def is_unreleased(raw: str) -> bool:
    """Whether a title is that of what is not released yet."""
    return _UNRELEASED.fullmatch(_plain(raw).strip(" :-\u2013\u2014")) is not None


def bare(name: str) -> str:
    """A version or tag without the `v` that people put in front."""
    return re.sub(r"\A[vV]\.?(?=[0-9])", "", name)


def title_like(model: Title, version: str, tag: str, date: Date) -> str | None:
    """The title of another version in the form of one that is there; None where that is of another kind (another
    stream's tag, a date)."""
    alike = all(re.fullmatch(r"[0-9]+\.[0-9].*", bare(name)) for name in (model.name, version))
    if not alike or (start := model.raw.find(model.name)) < 0:
        return None
    lead, rest = model.raw[:start], model.raw[start + len(model.name) :]
    name = ("" if bare(model.name) == model.name else model.name[0]) + bare(version)
    if target := _TARGET.match(rest):
        rest = rest[target.end() :]
        url = following_url(target[0][2:-1], tag) if target[0].startswith("](") else None
        if target[0].startswith("]["):
            name += "]"
        elif url:
            name += f"]({url})"
        else:
            lead = lead.removesuffix("[")
    elif rest.startswith("]"):
        name, rest = name + "]", rest[1:]
    marks = re.match(r"[*_`]*", rest)
    name += marks[0] if marks else ""
    return lead + name + _dated(rest[len(marks[0]) if marks else 0 :], date)


def _dated(rest: str, date: Date) -> str:
    """What follows a version, with another date in the same place."""
    found = _DATE.search(rest)
    if found is None or not _BETWEEN.fullmatch(rest[: found.start()]):
        return f" - {date:%Y-%m-%d}"
    closing = re.match(r"[)\]]?[*_`]*", rest[found.end() :])
    return f"{rest[: found.start()]}{date:%Y-%m-%d}{closing[0] if closing else ''}"


def _leads(before: str, *, dated: bool) -> bool:
    """Whether a title may have that before its version: nothing, words for a version, or where it is dated a name."""
    words = re.findall(r"[\w'@/.-]*\w", before.replace("\u2019", "'"))
    if all(map(_LEADING_WORD.fullmatch, words)):
        return True
    return dated and len(words) <= 3 and not before.rstrip().endswith((",", ";", "."))


def _plain(raw: str) -> str:
    """A title as it is shown: the text of its links, without marks."""
    unlinked = re.sub(r"\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])?", r" \1 ", raw)
    return _MARKUP.sub("", unlinked).strip()
