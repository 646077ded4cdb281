"""Changelogs, of this tool or another: read a version's text, add a version above all older ones.

The form is that of the versions that are there, else of Keep a Changelog 1.1.0 (https://keepachangelog.com/en/1.1.0/).
What a person wrote is never rewritten: text is only put between lines, and links go on to the new version's tag.
Read a file with `newline=""` and write it so, or Python changes its line ends.
"""

from datetime import date as Date
from itertools import pairwise
from pathlib import Path

from tagship.history.changelog_groups import merged
from tagship.history.changelog_links import Added, with_links
from tagship.history.changelog_page import (
    LINK_DEFINITION,
    Page,
    between_blanks,
    is_blank_or_comment,
    read_page,
)
from tagship.history.changelog_titles import bare, names_version, title_like
from tagship.naming.version import is_semver, precedence
from tagship.system.called import called
from tagship.system.errors import ReleaseError
from tagship.system.files import write_text

_PREAMBLE = "# Changelog\n\nThe format is based on [Keep a Changelog](https://keepachangelog.com/en/1.1.0/)."
_UNRELEASED = "Unreleased"
# A line of more words is no title.
_LONGEST_TITLE = 8
# Where towncrier puts its versions.
_TOWNCRIER = "<!-- towncrier release notes start -->"
# Markup in which notes in Markdown would not be shown as they are meant.
_OTHER_MARKUP = {
    ".rst": "reStructuredText",
    ".adoc": "AsciiDoc",
    ".asciidoc": "AsciiDoc",
    ".org": "Org",
    ".html": "HTML",
}


def entry(text: str, version: str) -> str | None:
    """The text below the heading of a version, with `\\n` as line ends and no blank lines around it.

    `version` is a version, a whole tag or `Unreleased`; it must be the heading's, but for a `v` in front. "" when there
    is nothing below the heading, None without a heading.
    """
    page = read_page(text)
    section = page.waiting if version == _UNRELEASED else page.find(version)
    return None if section is None else page.body(section)


def insert(text: str, version: str, date: Date, notes: str, *, tag: str | None = None) -> str:
    """The changelog with a section for a version, above all that are there; links that name tags go on to `tag`, by
    default the version with a `v`.

    What stands under Unreleased becomes the version's, and `notes` follow it, those of a group that it has too (Added)
    in that group. A version that has text already is left as it is. Raises ReleaseError where a code block or comment
    that is never closed would swallow it, or where it would stand below an older version.
    """
    page = read_page(text)
    notes = _useful(notes)
    if there := page.find(version):
        return text if page.body(there) or not notes else _put(page, there.start, notes)
    if not text.strip():
        block = f"## [{version}] - {date:%Y-%m-%d}" + (f"\n\n{notes}" if notes else "")
        return _put(page, len(page.lines), f"{_PREAMBLE}\n\n{block}")
    _check_legible(page)
    _check_order(page)
    tag = tag or (f"v{version}" if version[0].isdecimal() else version)
    heading, name = _heading(page, version, tag, date)
    after = _placed(page, heading, notes)
    added = read_page(after)
    newest = next((section.title.name for section in page.versions if section.title), None)
    return "".join(with_links(added.lines, added.shown, Added(name=name, tag=tag, before=newest)))


def write_entry(path: Path, version: str, date: Date, notes: str, *, tag: str | None = None) -> bool:
    """Write a version's entry into a changelog, which need not be there yet; returns whether it was changed. A link to
    another file stays one.

    Raises ReleaseError as `insert`, and for a file that is not UTF-8, or not Markdown.
    """
    try:
        target = path.resolve()
        before = target.read_bytes().decode("utf-8") if target.exists() else ""
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is not UTF-8: {error}") from None
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        raise ReleaseError(f"{path} cannot be read: {error}", remedy="name a file in [versions] changelog") from None
    if entry(before, version):
        return False
    if markup := _OTHER_MARKUP.get(target.suffix.lower()):
        raise ReleaseError(
            f"{path} is {markup}, and notes are Markdown: they are not written into it",
            remedy=f"write the entry for {version} by hand, from {called()} notes; or name a Markdown file in "
            "[versions] changelog",
        )
    try:
        after = insert(before, version, date, notes, tag=tag)
    except ReleaseError as error:
        raise ReleaseError(f"{path}: {error}", remedy=error.remedy) from None
    if after != before:
        write_text(target, after)
    return after != before


def _heading(page: Page, version: str, tag: str, date: Date) -> tuple[str, str]:
    """The heading of a new version as those look that are there, and the version as it is written in it."""
    model = next(iter(page.versions), None)
    title = title_like(model.title, version, tag, date) if model and model.title else None
    if model is None or model.title is None or title is None:
        level = next((it.heading.level for it in page.sections if it.heading.level), 2)
        return f"{'#' * min(level, 2)} [{version}] - {date:%Y-%m-%d}", version
    name = bare(version) if bare(model.title.name) == model.title.name else f"{model.title.name[0]}{bare(version)}"
    if model.heading.marks:  # underlined
        return f"{title}\n{model.heading.marks * len(title)}", name
    # standard-version gives patches a deeper level than the versions that they mend.
    return (f"{'#' * min(model.heading.level, 2)} {title}" if model.heading.level else title), name


def _placed(page: Page, heading: str, notes: str) -> str:
    """The page with a new heading and its notes."""
    block = f"{heading}\n\n{notes}" if notes else heading
    if waiting := page.waiting:
        if not notes or not page.body(waiting):
            return _put(page, waiting.start, block)
        page, rest = merged(page, waiting, notes)
        waiting = page.waiting or waiting
        if rest:
            page = read_page(_put(page, page.end(waiting.stop), rest))
        return _put(page, waiting.start, heading)
    return _put(page, _top(page), block)


def _top(page: Page) -> int:
    """The line where the newest version begins, or would: below the page's title and what introduces it."""
    if versions := page.versions:
        return versions[0].heading.top
    marker = next((n for n, line in enumerate(page.lines) if line.strip() == _TOWNCRIER), None)
    if marker is not None:
        return marker + 1
    titled = bool(page.headings) and page.headings[0].level == 1
    later = [heading.top for heading in page.headings[int(titled) :]]
    lists = [page.first_list] if page.first_list is not None else []
    return min([*later, *lists, page.end(page.links)])


def _check_legible(page: Page) -> None:
    """Raise ReleaseError where no version can be told from the text, and some line names one all the same."""
    for number in page.shown if not page.versions else ():
        line = page.lines[number].rstrip()
        # A sentence may name the version of something.
        if line[:1].strip() and len(line.split()) <= _LONGEST_TITLE and not line.endswith(".") and names_version(line):
            raise ReleaseError(
                f"line {number + 1} names a version in an unknown form, so that a new one cannot be put above it",
                remedy=f"write the entry by hand, from {called()} notes, with a heading such as ## 1.0.0",
            )


def _check_order(page: Page) -> None:
    """Raise ReleaseError where the page's order would have a new version stand below an older one."""
    versions, waiting = page.versions, page.waiting
    if versions and waiting and waiting.start > versions[0].start:
        raise ReleaseError(
            f"what is not released (line {waiting.heading.start}) stands below a version (line "
            f"{versions[0].heading.start}), so that a version made of it would stand below an older one",
            remedy="move it above the versions",
        )
    named = [section.title for section in versions if section.title and is_semver(bare(section.title.name))]
    ranks = [precedence(bare(title.name)) for title in named]
    if len(ranks) > 1 and all(one < two for one, two in pairwise(ranks)):
        first, last = named[0], named[-1]
        # Of two, the first may be a later repair of an older version.
        if len(ranks) > 2 or (first.date and last.date and first.date < last.date):
            raise ReleaseError(
                f"the changelog's oldest version stands first ({first.name}, then {named[1].name}), and versions are "
                "added at the top",
                remedy=f"write the entry by hand, from {called()} notes; or turn the order around",
            )


def _useful(notes: str) -> str:
    """Notes with `\\n` as line ends; "" when they show nothing, only comments or link definitions."""
    lines = notes.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    shows = any(not is_blank_or_comment(line) and not LINK_DEFINITION.match(line) for line in lines)
    return between_blanks(lines) if shows else ""


def _put(page: Page, at: int, block: str) -> str:
    """The text with a block before line `at`, set off by blank lines, with the file's line ends."""
    lines = page.lines
    if page.unclosed is not None and at > page.unclosed:
        where = f"the changelog's line {page.unclosed + 1}"
        raise ReleaseError(
            f"{where} opens a code block or comment that is never closed, so no version can be added after it",
            remedy=f"Close what {where} opens.",
        )
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    ended = not lines or lines[-1].endswith("\n")
    before, after = "".join(lines[:at]), "".join(lines[at:])
    if not before and after.startswith("\ufeff"):
        before, after = "\ufeff", after[1:]
    if at == len(lines):
        before += "" if ended else newline
        after = newline if ended else ""
    else:
        after = newline * (2 if lines[at].strip() else 1) + after
    lead = newline if at and lines[at - 1].strip() else ""
    return before + lead + block.replace("\n", newline) + after
