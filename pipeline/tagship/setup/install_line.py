"""The line by which CI installs tagship: the same copy as the one that runs here, from where it came."""

from pathlib import Path

from msgspec import Struct

from tagship.history.web_links import web_address
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.installation import NOWHERE, Source, named

# Nobody has this address: a run ends where it stands, and says so.
PLACEHOLDER = f"git+https://{NOWHERE}/with-where-tagship-is@COMMIT"


class InstallLine(Struct, frozen=True, kw_only=True):
    """A shell line, and what people have to do about it, where there is anything."""

    line: str
    to_do: str | None = None


def install_line(source: Source | None, extra: str) -> InstallLine:
    """How another machine installs this copy with extras, or none of them. `tagship` alone is the name of nothing on
    any index."""
    requirement = source.requirement(extra) if source else None
    to_do = None
    if source and requirement and not source.url:
        to_do = f"CI installs {requirement} from the index that pip uses there: name that one with --index-url"
    if requirement is None:
        folder = source.path if source else None
        address = _pushed_address(folder) if folder else None
        requirement = f"{named(extra)} @ {address or PLACEHOLDER}"
        if address is None:
            where = f"this copy of tagship came from {folder}, which" if folder else "this copy of tagship"
            to_do = f"{where} no other machine has: in the workflows, put where CI gets tagship for {NOWHERE}"
    return InstallLine(line=f'pip install "{requirement}"', to_do=to_do)


def _pushed_address(folder: Path) -> str | None:
    """What pip takes for the commit of a clone that a copy was installed from, if its remote has that commit."""
    if not folder.is_dir():
        return None
    try:
        with Repository(folder) as repository:
            page, commit = web_address(repository.remote_url("origin") or ""), repository.head()
            if page and repository.folder.resolve() == folder.resolve() and repository.is_on_remote(commit, "origin"):
                return f"git+{page}@{commit.sha}"
    except ReleaseError:  # no clone, or one without a commit
        return None
    return None
