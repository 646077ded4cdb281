"""What the doctor says of the machine, the repository's remote and its CI: where a release is made, and from where."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tagship.history.web_links import web_address
from tagship.hub.patience import ASIDE
from tagship.policy.config import EMBEDDED, Config
from tagship.release.finding import OK, STOP, WARN, Finding
from tagship.system.called import called
from tagship.system.errors import ToolError
from tagship.system.git import Repository
from tagship.system.installation import NOWHERE
from tagship.system.machine import available_memory, free_disk
from tagship.system.pool import cores
from tagship.system.templating import human_size

# Where each CI keeps what it runs, below the repository.
_WORKFLOWS = (".github/workflows/*.yml", ".github/workflows/*.yaml", ".gitlab-ci.yml", ".gitlab-ci/*.yml")
# What a workflow says that runs this program.
_CALLS = re.compile(r"\b(?:tagship|invoke|inv) +(?:release|export|work|gather|publish)\b")
# Bytes that even a small release takes: its texts, an index of git, a log.
_LEAST_DISK = 64 << 20


def look_around(config: Config, repository: Repository) -> Iterator[Finding]:
    """Look at the machine, the remote and the workflows; nothing is changed, and the remote is waited for briefly."""
    yield Finding(
        level=OK,
        what=f"tagship {version('tagship')}, Python {platform.python_version()}, git {repository.program_version()}; "
        f"{cores()} cores, {human_size(available_memory())} of memory available",
    )
    yield from _disk(config)
    yield _remote(config, repository)
    yield from _workflows(config, repository)


def _disk(config: Config) -> Iterator[Finding]:
    folders = {config.exports: "exports", config.artifacts: "archives"}
    if config.endpoint == EMBEDDED:
        folders[config.state] = "the embedded Hub"
    free = {name: free_disk(folder) for folder, name in folders.items()}
    told = ", ".join(f"{human_size(size)} for {name}" for name, size in free.items())
    full = min(free.values()) < _LEAST_DISK
    remedy = f"free some; {called()} clean removes what is published" if full else None
    yield Finding(level=STOP if full else OK, what=f"room on the disk: {told}", remedy=remedy)


def _remote(config: Config, repository: Repository) -> Finding:
    remote = config.versions.remote
    if repository.remote_url(remote) is None:
        return Finding(
            level=WARN,
            what=f"there is no git remote {remote}: no tag can be pushed, and no CI is started",
            remedy=f"git remote add {remote} URL, or name another one: [versions] remote",
        )
    try:
        tags = repository.remote_tags(remote, seconds=ASIDE)
    except ToolError as error:
        remedy = (
            f"mend its address (git remote set-url {remote} URL) or your access, or name another: [versions] remote"
        )
        told = "; ".join(str(error).splitlines())
        return Finding(level=WARN, what=f"the git remote {remote}: {told}", remedy=error.remedy or remedy)
    return Finding(level=OK, what=f"the git remote {remote} answers, and has {len(tags)} tags")


def _workflows(config: Config, repository: Repository) -> Iterator[Finding]:
    top = repository.folder
    found = [path for pattern in _WORKFLOWS for path in sorted(top.glob(pattern)) if _calls(path)]
    names = ", ".join(path.relative_to(top).as_posix() for path in found)
    if any(NOWHERE in _text(path) for path in found):
        yield Finding(
            level=WARN,
            what=f"CI would not find this program: {names}",
            remedy=f"put in for {NOWHERE} where it is: an address and a commit",
        )
    elif found:
        yield Finding(level=OK, what=f"CI runs this program: {names}")
    elif (url := repository.remote_url(config.versions.remote)) and web_address(url):
        yield Finding(
            level=WARN,
            what="no workflow of CI runs this program: a tag that is pushed releases nothing by itself",
            remedy=f"{called()} init writes one",
        )


def _calls(workflow: Path) -> bool:
    return _CALLS.search(_text(workflow)) is not None


def _text(workflow: Path) -> str:
    """What a workflow says; nothing where it cannot be read."""
    try:
        return workflow.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
