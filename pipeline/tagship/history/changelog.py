"""Changelogs in the form of Keep a Changelog 1.1.0: read a version's text, add a version.

https://keepachangelog.com/en/1.1.0/. What a person wrote is never rewritten: text is only put between
lines. A heading is one by CommonMark's rules, so code blocks and comments have none. Read a file with `newline=""`
and write it so, or Python changes its line ends.
"""

import re
from dataclasses import dataclass
from datetime import date as Date
from pathlib import Path

from tagship.system.errors import ReleaseError
from tagship.system.files import write_text

_PREAMBLE = "# Changelog\n\nThe format is based on [Keep a Changelog](https://keepachangelog.com/en/1.1.0/)."
_HEADING = re.compile(r" {0,3}(?P<marks>#{1,2})(?:[ \t]+(?P<title>.*))?")
_LINKED = re.compile(r"\[\s*(?P<name>[^\]\s]*)[^\]]*\]")
# 1.0.0, v1.0, ollama-v1.0.0, 2026-01-02: the first heading like this is the newest version's.
_VERSION = re.compile(r"(?:.*[^0-9A-Za-z])?v?[0-9]+[.-][0-9]")
# What hides headings: a code block or a comment, in a list also beside the bullet.
_BLOCK = re.compile(
    r"(?P<indent> {0,3}(?P<bullets>(?:(?:[-*+]|[0-9]{1,9}[.)]) +)*))"
    r"(?:(?P<fence>`{3,}(?=[^`]*$)|~{3,})|(?P<comment><!--))"
)
# `[^1]: text` is a footnote, which is text.
_LINK = re.compile(r" {0,3}\[(?!\^)[^\]]+\]:\s*\S")
_BLANK_OR_COMMENT = re.compile(r"\s*(?:<!--.*-->\s*)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A heading of level 1 or 2 and what is below it: lines [start, stop), the heading being start - 1."""

    name: str
    level: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A changelog's lines with their ends, its sections, and where its closing link definitions begin.

    `unclosed` is the line of a code block or comment that nothing ends.
    """

    lines: list[str]
    sections: tuple[_Section, ...]
    links: int
    unclosed: int | None


def entry(text: str, version: str) -> str | None:
    """The text below the heading of a version, with `\\n` as line ends and no blank lines around it.

    `version` is a version or a whole tag; it must be the heading's, but for a `v` in front. "" when there is
    nothing below the heading, None without a heading.
    """
    page = _read(text)
    section = _find(page, version)
    return None if section is None else _body(page, section)


def insert(text: str, version: str, date: Date, notes: str) -> str:
    """The changelog with a section for a version, its headings inside being `###`.

    What stands under Unreleased becomes the version's, and `notes` follow it. A version that has text already
    is left as it is. Raises ReleaseError where a code block or comment that is never closed would swallow it.
    """
    page = _read(text)
    notes = _useful(notes)
    heading = f"## [{version}] - {date:%Y-%m-%d}"
    section = f"{heading}\n\n{notes}" if notes else heading
    if there := _find(page, version):
        return text if _body(page, there) or not notes else _put(page, there.start, notes)
    if waiting := next((section for section in page.sections if _is_unreleased(section)), None):
        if not notes or not _body(page, waiting):
            return _put(page, waiting.start, section)
        return _put(_read(_put(page, _end(page, waiting.stop), notes)), waiting.start, heading)
    if not text.strip():
        return _put(page, len(page.lines), f"{_PREAMBLE}\n\n{section}")
    newest = next((section for section in page.sections if section.level == 2 and _VERSION.match(section.name)), None)
    return _put(page, newest.start - 1 if newest else _end(page, page.links), section)


def write_entry(path: Path, version: str, date: Date, notes: str) -> bool:
    """Write a version's entry into a changelog, which need not be there yet; returns whether it was changed.

    Raises ReleaseError as `insert`, and for a file that is not UTF-8.
    """
    try:
        before = path.read_bytes().decode("utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is not UTF-8: {error}") from None
    after = insert(before, version, date, notes)
    if after != before:
        write_text(path, after)
    return after != before


def _read(text: str) -> _Page:
    # Not splitlines: a form feed or a line separator ends no line in Markdown.
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    shown, unclosed = _shown(lines)
    links = _links_start(lines, shown)
    found = [(i, heading) for i in shown if (heading := _HEADING.fullmatch(_bare(lines[i])))]
    stops = [*(i for i, _ in found), links][1:]
    sections = tuple(
        _Section(name=_name(heading["title"] or ""), level=len(heading["marks"]), start=i + 1, stop=stop)
        for (i, heading), stop in zip(found, stops, strict=True)
    )
    return _Page(lines=lines, sections=sections, links=links, unclosed=unclosed)


def _shown(lines: list[str]) -> tuple[list[int], int | None]:
    """The lines in no code block and no comment, and the line that opens one to the end of the file."""
    shown: list[int] = []
    number: int | None = 0
    while number is not None and number < len(lines):
        shown.append(number)
        number = _next_shown(lines, number)
    return shown, shown[-1] if number is None else None


def _next_shown(lines: list[str], number: int) -> int | None:
    """The next line that is not in the block that begins in this line, if one does; None if it never ends."""
    block = _BLOCK.match(_bare(lines[number]))
    if block is None or (block["comment"] and "-->" in lines[number]):
        return number + 1
    indent, fence = len(block["indent"]), block["fence"] or ""
    # The closing fence is as long or longer, and at most three columns further in.
    closing = re.compile(rf" {{0,{indent + 3}}}{fence}{fence[:1]}*\s*" if fence else ".*-->.*", re.DOTALL)
    for after in range(number + 1, len(lines)):
        line = lines[after]
        if block["bullets"] and line.strip() and not line.startswith(" " * indent):
            return after  # the list's item is over, and the block with it
        if closing.fullmatch(line):
            return after + 1
    return len(lines) if block["bullets"] else None


def _links_start(lines: list[str], shown: list[int]) -> int:
    """Where the link definitions that close the file begin, with blank lines and comments among them."""
    start, first, visible = len(lines), len(lines), set(shown)
    while start and start - 1 in visible:
        line = lines[start - 1]
        if _LINK.match(line):
            first = start - 1
        elif not _BLANK_OR_COMMENT.fullmatch(line):
            break
        start -= 1
    # A comment or blank line counts as theirs only where a definition follows it.
    return start if first < len(lines) else len(lines)


def _name(title: str) -> str:
    """The version in a heading's title: in its brackets, or its first word."""
    linked = _LINKED.match(title)
    return linked["name"] if linked else (title.split() or [""])[0].rstrip(":,")


def _find(page: _Page, version: str) -> _Section | None:
    wanted = _without_v(version)
    return next((it for it in page.sections if it.level == 2 and _without_v(it.name) == wanted), None)


def _without_v(name: str) -> str:
    return re.sub(r"\Av(?=[0-9])", "", name)


def _is_unreleased(section: _Section) -> bool:
    return section.level == 2 and section.name.casefold() == "unreleased"


def _body(page: _Page, section: _Section) -> str:
    return _between_blanks([_bare(line) for line in page.lines[section.start : section.stop]])


def _useful(notes: str) -> str:
    """Notes with `\\n` as line ends; "" when they show nothing, only comments or link definitions."""
    lines = notes.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    shows = any(not _BLANK_OR_COMMENT.fullmatch(line) and not _LINK.match(line) for line in lines)
    return _between_blanks(lines) if shows else ""


def _between_blanks(lines: list[str]) -> str:
    # Not strip: the first line's indent tells how deep its list is.
    full = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[full[0] : full[-1] + 1]).rstrip() if full else ""


def _bare(line: str) -> str:
    return line.rstrip("\r\n").removeprefix("\ufeff")


def _end(page: _Page, stop: int) -> int:
    """The line after the last one with text before `stop`."""
    while stop and not page.lines[stop - 1].strip():
        stop -= 1
    return stop


def _put(page: _Page, at: int, block: str) -> str:
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
    if at == len(lines):
        before += "" if ended else newline
        after = newline if ended else ""
    else:
        after = newline * (2 if lines[at].strip() else 1) + after
    lead = newline if at and lines[at - 1].strip() else ""
    return before + lead + block.replace("\n", newline) + after
