"""The names that a repository had before it was moved, kept inside its own folder.

They travel with the folder, so that one rename moves a repository and turns its old name into a
redirect: there is no moment at which neither name works. A chain of moves stays one step long, and
a deleted repository takes its redirects with it. Each name is an empty file,
`formerly/<namespace>/<name>`.
"""

from collections.abc import Iterable
from pathlib import Path

from tagship.hub_server.durable import make_folder, sync

_FOLDER = "formerly"


def _mark(git_dir: Path, namespace: str, name: str) -> Path:
    return git_dir / _FOLDER / namespace / name


def remember(git_dir: Path, namespace: str, name: str) -> None:
    """Note that the repository had this name; as long as it still has it, the note means nothing."""
    mark = _mark(git_dir, namespace, name)
    make_folder(mark.parent)
    mark.touch(mode=0o600)
    sync(mark.parent)


def forget(git_dirs: Iterable[Path], namespace: str, name: str) -> None:
    """No repository redirects from this name any longer; for one that has just taken it."""
    for git_dir in git_dirs:
        _mark(git_dir, namespace, name).unlink(missing_ok=True)


def owner(git_dirs: Iterable[Path], namespace: str, name: str) -> Path | None:
    """The folder of the repository that had this name last, None if none had."""
    since: dict[Path, int] = {}
    for git_dir in git_dirs:
        try:
            # After a kill between taking a name and `forget` there are two.
            since[git_dir] = _mark(git_dir, namespace, name).stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return max(since, key=since.__getitem__, default=None)
