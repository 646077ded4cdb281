"""What setting up would change, as values; and doing it. Nothing that exists is replaced: files are written where there
are none, and lines added where that changes nothing that was there."""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.files import write_text

WRITE, ADD, KEEP = "write", "add to", "leave"


class Change(Struct, frozen=True, kw_only=True):
    """What is done to one file: `write` it, `add to` it, or `leave` it as it is. `path` is POSIX, below the root;
    `text` is what is written or added, `whole` the file as it will be; `why` says what for, or why not."""

    what: str
    path: str
    text: str = ""
    whole: str = ""
    why: str = ""


def write(path: str, text: str, why: str) -> Change:
    """A new file."""
    return Change(what=WRITE, path=path, text=text, whole=text, why=why)


def keep(path: str, why: str) -> Change:
    """A file that stays as it is."""
    return Change(what=KEEP, path=path, why=why)


def appended(path: str, present: str, text: str, why: str) -> Change:
    """Lines below what a file has."""
    end = "" if not present or present.endswith("\n") else "\n"
    return Change(what=ADD, path=path, text=text, whole=f"{present}{end}{text}", why=why)


def apply(root: Path, changes: Iterable[Change]) -> list[str]:
    """Make the changes; returns the paths that were written. Raises ReleaseError where a file that is to be new is
    there by now."""
    changes = [change for change in changes if change.what != KEEP]
    for change in changes:
        _check_way(root, change.path)
    written = []
    for change in changes:
        path = root / change.path
        if path.is_symlink() and not path.exists():
            raise ReleaseError(f"{change.path} is a link to nothing", remedy="remove it, or have it lead somewhere")
        if change.what == WRITE and path.exists():
            raise ReleaseError(f"{change.path} is there by now", remedy="run tagship init again: it looks anew")
        if not path.resolve().is_relative_to(root.resolve()):
            raise ReleaseError(f"{change.path} is a link out of {root}", remedy="replace it by a file, or remove it")
        # A link stays one, and its target gets the lines.
        write_text(path.resolve() if change.what == ADD else path, change.whole)
        written.append(change.path)
    return written


def _check_way(root: Path, path: str) -> None:
    """Raise ReleaseError, before anything is written, where something on the way to a file is no folder."""
    for parent in (root / path).parents:
        if parent.exists() and not parent.is_dir():
            shown = parent.relative_to(root).as_posix()
            raise ReleaseError(f"{shown} is a file, where {path} needs a folder", remedy="move it away")
        if parent == root:
            return
