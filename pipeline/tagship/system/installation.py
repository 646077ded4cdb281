"""Where this copy of tagship came from, so that what is missing of it, and its next copy, come from the same place.

No index is known to hold a `tagship` that is this one: nobody is told to install it by its name alone.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct

_PACKAGE = "tagship"
# Stands, as a host that nobody has, where people have to put in from where others get this copy.
NOWHERE = "REPLACE.invalid"
# How an installer records it (https://packaging.python.org/en/latest/specifications/direct-url/).
_RECORD = "direct_url.json"


class Source(Struct, frozen=True, kw_only=True):
    """Where a copy was installed from: an address that pip takes, pinned to a commit or a digest; a folder or a file on
    this machine; or, without either, an index, by its version."""

    version: str
    url: str | None = None
    path: Path | None = None
    editable: bool = False

    def requirement(self, extra: str) -> str | None:
        """What pip installs anywhere to get the same copy; None where only this machine has it."""
        if self.url:
            return f"{named(extra)} @ {self.url}"
        return None if self.path else f"{named(extra)}=={self.version}"


def named(extra: str) -> str:
    """What pip calls this package, with extras or, where that is empty, without."""
    return f"{_PACKAGE}[{extra}]" if extra else _PACKAGE


def installed_from() -> Source | None:
    """Where the running copy came from; None where it was never installed."""
    try:
        found = distribution(_PACKAGE)
    except PackageNotFoundError:
        return None
    record = found.read_text(_RECORD)
    return read_source(found.version, json.loads(record) if record else {})


def read_source(version: str, record: dict[str, Any]) -> Source:
    """What an installer's record of an address says; an empty one is that of an index."""
    if not record:
        return Source(version=version)
    url = urlsplit(str(record.get("url", "")))
    if url.scheme == "file":
        editable = bool(record.get("dir_info", {}).get("editable"))
        return Source(version=version, path=Path(unquote(url.path)), editable=editable)
    # Whoever installed it may have had a password in the address.
    user, _, host = url.netloc.rpartition("@")
    plain = urlunsplit(url._replace(netloc=f"git@{host}" if user == "git" else host, fragment=""))
    below = f"subdirectory={record['subdirectory']}" if record.get("subdirectory") else ""
    if vcs := record.get("vcs_info"):
        return Source(version=version, url=f"{vcs['vcs']}+{plain}@{vcs['commit_id']}" + (f"#{below}" if below else ""))
    digests = [f"{name}={value}" for name, value in record.get("archive_info", {}).get("hashes", {}).items()]
    fragment = "&".join([*digests[:1], *filter(None, [below])])
    return Source(version=version, url=plain + (f"#{fragment}" if fragment else ""))


def how_to_install(extra: str) -> str:
    """The remedy for an optional dependency that is not there: a command."""
    source = installed_from()
    if source is None:
        return f'pip install -e ".[{extra}]" in the clone of tagship that this is'
    if source.path:
        return f'pip install {"-e " if source.editable else ""}"{source.path}[{extra}]"'
    return f'pip install "{source.requirement(extra)}"'
