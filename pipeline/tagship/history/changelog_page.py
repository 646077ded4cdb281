"""A changelog's lines, and the versions that stand in it.

Headings are found by CommonMark (markdown-it-py), so that code blocks and comments have none; they may be of any level,
underlined or not. Where no heading names a version, lines that do are taken for them: `1.0.0 (2026-01-02)` in plain
text, `* Noteworthy changes in release 1.0` as GNU writes it, titles of reStructuredText.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from tagship.history.changelog_titles import Title, bare, is_unreleased, read_title

if TYPE_CHECKING:
    from markdown_it.token import Token

# A deeper heading belongs to a version's text, whatever it names.
_DEEPEST = 4
_ANCHOR = re.compile(r"\s*<a\s+(?:name|id)=[^>]*>\s*(?:</a>)?\s*")
_RULE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}\s*")
_YAML = re.compile(r"[\w-]+:\s")
# `[^1]: text` is a footnote, which is text.
LINK_DEFINITION = re.compile(r" {0,3}\[(?!\^)[^\]]+\]:\s*\S")
_BLANK_OR_COMMENT = re.compile(r"\s*(?:<!--.*-->\s*)?", re.DOTALL)
# `##1.0.0` was a heading once.
_LOOSE = re.compile(r"(?:[*+-] +|[*_]{2}|#{1,6})?(?P<title>[\w@\[].*)")


class Heading(Struct, frozen=True, kw_only=True):
    """A heading at the top level of the page: its lines are [top, start), `top` counting an anchor above it. `level` is
    0 for a line that is none in Markdown; `marks` are those of its underline."""

    raw: str
    level: int
    top: int
    start: int
    marks: str = ""


class Section(Struct, frozen=True, kw_only=True):
    """A version, or what is not released yet (`title` is None): its heading and the lines [start, stop) below it."""

    heading: Heading
    title: Title | None
    stop: int

    @property
    def start(self) -> int:
        return self.heading.start


class Page(Struct, frozen=True, kw_only=True):
    """A changelog's lines with their ends. `shown` are those in no code block and no comment; `links` is where the link
    definitions begin that close the file; `unclosed` the line of a code block or comment that nothing ends."""

    lines: list[str]
    headings: tuple[Heading, ...]
    sections: tuple[Section, ...]
    shown: tuple[int, ...]
    links: int
    unclosed: int | None
    first_list: int | None

    @property
    def versions(self) -> list[Section]:
        return [section for section in self.sections if section.title]

    @property
    def waiting(self) -> Section | None:
        """What is not released yet."""
        return next((section for section in self.sections if section.title is None), None)

    def find(self, version: str) -> Section | None:
        """The section of a version, or of a whole tag."""
        wanted = bare(version)
        return next((it for it in self.sections if it.title and bare(it.title.name) == wanted), None)

    def body(self, section: Section) -> str:
        return between_blanks([_bare(line) for line in self.lines[section.start : section.stop]])

    def end(self, stop: int) -> int:
        """The line after the last one with text before `stop`."""
        while stop and not self.lines[stop - 1].strip():
            stop -= 1
        return stop


def read_page(text: str) -> Page:
    """The lines and versions of a changelog."""
    # Not splitlines: a form feed or a line separator ends no line in Markdown.
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    front = _front_matter(lines)
    tokens = parse("\n" * front + "".join(_bare(line) + "\n" for line in lines[front:]))
    hidden, unclosed = _hidden(tokens, lines)
    shown = tuple(number for number in range(front, len(lines)) if number not in hidden)
    links = _links_start(lines, set(shown))
    headings = [_with_anchor(heading, lines) for heading in _headings(tokens, lines)]
    if not any(_title(heading) for heading in headings):
        loose = _loose_headings(lines, shown)
        waiting = [heading for heading in headings if is_unreleased(heading.raw)]
        headings = sorted([*headings, *loose], key=lambda it: it.top) if loose else headings
        headings = [it for it in headings if it not in loose or not any(_same(it, other) for other in waiting)]
    first_list = next((token.map[0] for token in tokens if token.level == 0 and _is_list(token) and token.map), None)
    return Page(
        lines=lines,
        headings=tuple(headings),
        sections=tuple(_sections(headings, links)),
        shown=shown,
        links=links,
        unclosed=unclosed,
        first_list=first_list,
    )


def parse(text: str) -> "list[Token]":
    """The blocks of a Markdown text by CommonMark; what is within lines is not read."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark")
    markdown.core.ruler.enableOnly(["normalize", "block"])
    return markdown.parse(text)


def between_blanks(lines: Sequence[str]) -> str:
    # Not strip: the first line's indent tells how deep its list is.
    full = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[full[0] : full[-1] + 1]).rstrip() if full else ""


def is_blank_or_comment(line: str) -> bool:
    return _BLANK_OR_COMMENT.fullmatch(line) is not None


def _front_matter(lines: list[str]) -> int:
    """How many lines the YAML takes that sites put at the top of a page."""
    if len(lines) < 2 or _bare(lines[0]).rstrip() != "---" or not _YAML.match(lines[1]):
        return 0
    return next((number + 1 for number, line in enumerate(lines) if number and line.rstrip() in ("---", "...")), 0)


def _title(heading: Heading) -> Title | None:
    if heading.level > _DEEPEST:
        return None
    return read_title(heading.raw, strict=heading.level > 2 or heading.level == 0)


def _headings(tokens: "list[Token]", lines: list[str]) -> list[Heading]:
    found = []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            raw = inline.content.split("\n")[-1].strip()
            raw = "" if LINK_DEFINITION.match(raw) else raw
            underlined = token.markup in ("=", "-")
            first = token.map[1] - 2 if underlined else token.map[0]
            marks = token.markup if underlined else ""
            found.append(Heading(raw=raw, level=int(token.tag[1]), top=first, start=token.map[1], marks=marks))
    return found


def _loose_headings(lines: list[str], shown: Sequence[int]) -> list[Heading]:
    """Lines at the left edge that name a version, with the rules of reStructuredText above and below them."""
    found = []
    for number in shown:
        line = _bare(lines[number])
        named = None if LINK_DEFINITION.match(line) else _LOOSE.fullmatch(line)
        if named and read_title(named["title"], strict=True):
            under = number + 1 < len(lines) and _RULE.fullmatch(_bare(lines[number + 1])) is not None
            over = under and number > 0 and lines[number - 1].strip() == lines[number + 1].strip()
            marks = lines[number + 1][0] if under else ""
            found.append(Heading(raw=line, level=0, top=number - over, start=number + 1 + under, marks=marks))
    return found


def _same(one: Heading, other: Heading) -> bool:
    return one.top < other.start and other.top < one.start


def _with_anchor(heading: Heading, lines: list[str]) -> Heading:
    """A heading with the anchor that older tools write above it."""
    top = heading.top
    while top and _ANCHOR.fullmatch(lines[top - 1]):
        top -= 1
    return Heading(raw=heading.raw, level=heading.level, top=top, start=heading.start, marks=heading.marks)


def _sections(headings: Sequence[Heading], links: int) -> list[Section]:
    titles = [_title(heading) for heading in headings]
    named = [title is not None or is_unreleased(heading.raw) for title, heading in zip(titles, headings, strict=True)]
    found = []
    for number, (heading, title) in enumerate(zip(headings, titles, strict=True)):
        if not named[number]:
            continue
        later = range(number + 1, len(headings))
        # standard-version gives a patch's heading and its groups' the same level.
        ends = (
            headings[n].top
            for n in later
            if named[n]
            or headings[n].level < heading.level
            or (headings[n].level == heading.level and heading.level <= 2)
        )
        found.append(Section(heading=heading, title=title, stop=max(next(ends, links), heading.start)))
    return found


def _hidden(tokens: "list[Token]", lines: list[str]) -> tuple[set[int], int | None]:
    """The lines in code blocks and comments but for the first of each, and the line of one that nothing ends."""
    hidden: set[int] = set()
    unclosed = None
    for token in tokens:
        comment = token.type == "html_block" and token.content.lstrip().startswith("<!--")
        if token.map is None or not (comment or token.type in ("fence", "code_block")):
            continue
        first, stop = token.map
        if token.type == "code_block":
            hidden |= set(range(first, stop))
            continue
        hidden |= set(range(first + 1, stop))
        closed = "-->" in token.content if comment else _is_closed(token.markup, lines[first + 1 : stop])
        if token.level == 0 and not closed:  # one in a list ends with the list
            unclosed = first
    return hidden, unclosed


def _is_closed(fence: str, lines: list[str]) -> bool:
    last = _bare(lines[-1]) if lines else ""
    marks = last.strip()
    return len(last) - len(last.lstrip(" ")) <= 3 and len(marks) >= len(fence) and set(marks) == {fence[0]}


def _is_list(token: "Token") -> bool:
    return token.type in ("bullet_list_open", "ordered_list_open")


def _links_start(lines: list[str], shown: set[int]) -> int:
    """Where the link definitions that close the file begin, with blank lines and comments among them."""
    start, first = len(lines), len(lines)
    while start and start - 1 in shown:
        line = lines[start - 1]
        if LINK_DEFINITION.match(line):
            first = start - 1
        elif not is_blank_or_comment(line):
            break
        start -= 1
    # A comment or blank line counts as theirs only where a definition follows it.
    return start if first < len(lines) else len(lines)


def _bare(line: str) -> str:
    return line.rstrip("\r\n").removeprefix("\ufeff")
