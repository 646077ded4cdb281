"""A project's own templates: files that replace one of tagship's, to begin with as it is."""

import re

from tagship.setup.changes import Change, keep, write
from tagship.setup.facts import Facts
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.templating import Templates, shipped_folder
from tagship.system.toml_reader import hint

_CARD = "card.md.j2"
_BLOCK = re.compile(r"\{%-?\s*block\s+(\w+)")
_EXTENDS = re.compile(r"""\{%-?\s*extends\s+["']([^"']+)["']""")
# Of tagship itself, not of what it publishes.
_INTERNAL = ("init", "workflows", "cards")


def override_change(name: str, facts: Facts, templates: Templates) -> Change:
    """The file that replaces a template, such as `vllm/card.md.j2`. Raises UsageError where there is none."""
    path = f"templates/{name}"
    if facts.has(path):
        return keep(path, "it is there")
    try:
        source = templates.source(f"tagship/{name}")
    except ReleaseError:
        raise UsageError(f"there is no template {name!r}{hint(name, _known())}") from None
    if not name.endswith(_CARD):
        return write(path, source, "a copy, to be changed")
    parts = ", ".join(_parts(name, templates))
    text = (
        f'{{% extends "tagship/{name}" %}}\n'
        f"{{# A block here replaces the part of that name; what has none stays as it is. Parts: {parts}. #}}\n"
    )
    return write(path, text, "a card of your own, part by part")


def _known() -> list[str]:
    below = shipped_folder()
    files = (path.relative_to(below) for path in sorted(below.rglob("*.j2")))
    return [path.as_posix() for path in files if path.parts[0] not in _INTERNAL]


def _parts(name: str, templates: Templates) -> list[str]:
    """The blocks of a template and of those that it extends, in the order of the page."""
    source = templates.source(f"tagship/{name}")
    parent = _EXTENDS.search(source)
    inherited = _parts(parent[1].removeprefix("tagship/"), templates) if parent else []
    return list(dict.fromkeys([*inherited, *_BLOCK.findall(source)]))
