"""Links in changelogs that name tags: what comes after them when a version is added.

`[Unreleased]: https://…/compare/v1.0.0...HEAD` begins at the new version then, which gets a definition of its own.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

from msgspec import Struct

# GitHub, GitLab, Gitea; of Bitbucket the newer one stands first.
_COMPARE = re.compile(r"(?P<head>\S*/compare/)(?P<old>\S+?)(?P<dots>\.{2,3})(?P<new>[^\s?#]+)(?P<tail>\S*)")
_COMPARE_BACKWARDS = re.compile(r"(?P<head>\S*/compare/)(?P<new>\S+?)(?P<dots>%0[Dd])(?P<old>[^\s?#]+)(?P<tail>\S*)")
_OF_TAG = re.compile(r"(?P<head>\S*/(?:tag|tags|tree|src|releases|commits)/)(?P<tag>[^\s/?#]+)")
_DEFINITION = re.compile(
    r"(?P<head> {0,3}\[(?P<label>(?!\^)[^\]]+)\]:[ \t]*<?)(?P<url>[^\s<>]+)(?P<tail>.*)", re.DOTALL
)
_INLINE = re.compile(
    r"(?P<head>.*\[[^\]]*unreleased[^\]]*\]\(<?)(?P<url>[^\s()<>]+)(?P<tail>.*)", re.IGNORECASE | re.DOTALL
)


class Added(Struct, frozen=True, kw_only=True):
    """A version that was added: `name` as its heading writes it, its tag, and the name of the version below it."""

    name: str
    tag: str
    before: str | None


def following_url(url: str, tag: str) -> str | None:
    """The address of a version's link, made that of the version after it; None for an address that names no tag."""
    if found := _compared(url):
        return _joined(found, old=found["new"], new=_quoted(tag))
    if found := _OF_TAG.fullmatch(url):
        return found["head"] + _quoted(tag)
    return None


def with_links(lines: list[str], shown: Iterable[int], added: Added) -> list[str]:
    """A changelog's lines with the links that a new version changes. `shown` are the lines outside of code blocks and
    comments; the lines have their ends."""
    found = {number: it for number in shown if (it := _DEFINITION.fullmatch(lines[number]))}
    labels = {it["label"].casefold(): number for number, it in reversed(found.items())}
    changed = list(lines)
    waiting = labels.get("unreleased")
    before = labels.get(added.before.casefold()) if added.before else None
    for number in shown:
        if (
            waiting is None
            and lines[number].lstrip().startswith(("#", "["))
            and (it := _INLINE.fullmatch(lines[number]))
        ):
            changed[number] = it["head"] + _from(it["url"], added.tag) + it["tail"]
    if waiting is not None:
        changed[waiting] = _with_url(found[waiting], _from(found[waiting]["url"], added.tag))
    if added.name.casefold() in labels:
        return changed
    if waiting is not None and (compared := _compared(found[waiting]["url"])):
        place, url = waiting + 1, _joined(compared, old=compared["old"], new=_quoted(added.tag))
    elif before is not None and (following := following_url(found[before]["url"], added.tag)):
        place, url = before, following
    else:
        return changed
    model = found[waiting if waiting is not None else before or 0]
    line = _with_url(model, url).replace(model["label"], added.name, 1)
    if place == len(lines) and not line.endswith("\n"):
        changed[-1] += _newline(lines)
    changed.insert(place, line if place == len(lines) or line.endswith("\n") else line + _newline(lines))
    return changed


def _compared(url: str) -> re.Match[str] | None:
    return _COMPARE_BACKWARDS.fullmatch(url) or _COMPARE.fullmatch(url)


def _from(url: str, tag: str) -> str:
    """A comparison that begins at another tag; any other address as it is."""
    found = _compared(url)
    return _joined(found, old=_quoted(tag), new=found["new"]) if found else url


def _joined(found: re.Match[str], *, old: str, new: str) -> str:
    first, second = (new, old) if found["dots"].lower() == "%0d" else (old, new)
    return f"{found['head']}{first}{found['dots']}{second}{found['tail']}"


def _with_url(definition: re.Match[str], url: str) -> str:
    return definition["head"] + url + definition["tail"]


def _newline(lines: list[str]) -> str:
    return "\r\n" if lines[0].endswith("\r\n") else "\n"


def _quoted(tag: str) -> str:
    return quote(tag, safe="@")
