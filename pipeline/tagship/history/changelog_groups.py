"""Groups of a version's changes (`### Added`): generated notes go into those that a person began."""

from msgspec import Struct

from tagship.history.changelog_page import Page, Section, parse, read_page


class _Group(Struct, frozen=True, kw_only=True):
    """A group in generated notes: its heading's line, and where the lists that follow it end."""

    title: str
    first: int
    stop: int


def merged(page: Page, waiting: Section, notes: str) -> tuple[Page, str]:
    """The page with the lists of those groups of `notes` in it that the section has too, and the rest of the notes."""
    lines, kept = list(page.lines), notes.split("\n")
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    places = _places(page, waiting)
    found = [group for group in _groups(notes) if group.title in places]
    for group in found:
        at = places[group.title]
        body = "\n".join(kept[group.first + 1 : group.stop]).strip("\n").split("\n")
        if not lines[at - 1].endswith("\n"):
            lines[at - 1] += newline
        apart = [] if lines[at - 1].lstrip()[:1] in "*-+" or lines[at - 1].startswith(" ") else [newline]
        lines[at - 1] += "".join([*apart, *(line + newline for line in body)])
    for group in reversed(found):
        del kept[group.first : group.stop]
    text = "".join(lines)
    return read_page(text if page.lines[-1].endswith("\n") else text.removesuffix(newline)), "\n".join(kept).strip("\n")


def _places(page: Page, waiting: Section) -> dict[str, int]:
    """The line after the text of each group in a section, by its title."""
    inside = [it for it in page.headings if waiting.start <= it.top < waiting.stop]
    stops = [*(heading.top for heading in inside), waiting.stop][1:]
    # Of two groups with one title the first.
    return {heading.raw.casefold(): page.end(stop) for heading, stop in reversed(list(zip(inside, stops, strict=True)))}


def _groups(notes: str) -> list[_Group]:
    tokens = [token for token in parse(notes) if token.level == 0 and token.map]
    contents = {token.map[0]: token.content for token in parse(notes) if token.type == "inline" and token.map}
    found = []
    for number, token in enumerate(tokens):
        if token.type != "heading_open" or token.map is None:
            continue
        stop = token.map[1]
        for following in tokens[number + 1 :]:
            if following.type not in ("bullet_list_open", "ordered_list_open") or following.map is None:
                break
            stop = following.map[1]
        if stop > token.map[1]:
            found.append(_Group(title=contents[token.map[0]].casefold(), first=token.map[0], stop=stop))
    return found
