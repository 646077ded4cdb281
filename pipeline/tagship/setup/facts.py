"""What is in a repository before it is set up, looked at and nothing else: no network, nothing written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from tagship.history.web_links import web_address
from tagship.naming.name_rules import HUB
from tagship.setup.found_bases import find_models
from tagship.setup.found_runs import FoundRun, find_adapters
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository

GITHUB, GITLAB = "github", "gitlab"
_ORIGIN = "origin"
# What people call a changelog, the usual name first.
_CHANGELOGS = ("CHANGELOG.md", "CHANGES.md", "HISTORY.md", "NEWS.md", "RELEASES.md")


class GitFacts(Struct, frozen=True, kw_only=True):
    """The repository that a folder is in: its top, the address of its remote and what that is called, whether it has a
    commit, and which of the runs and models in it git passes over."""

    top: Path
    remote: str | None
    remote_name: str
    has_commit: bool
    ignored: frozenset[Path]

    @property
    def page(self) -> str | None:
        """The repository's page, without what is secret in the remote's address."""
        return web_address(self.remote) if self.remote else None


class Facts(Struct, frozen=True, kw_only=True):
    """A folder as it is found: `root` is where release.toml goes, `models` are the whole models in it, `logged_in` is
    whether this machine has a token for the Hub."""

    root: Path
    git: GitFacts | None
    runs: tuple[FoundRun, ...]
    models: tuple[Path, ...]
    logged_in: bool

    @property
    def forge(self) -> str | None:
        """Whose CI the repository has: GitHub's, where there is no remote yet, too; None for neither GitHub's nor
        GitLab's."""
        page = self.git.page if self.git else None
        if page is None:
            return GITHUB
        host = urlsplit(page).hostname or ""
        return next((forge for forge in (GITHUB, GITLAB) if forge in host), None)

    @property
    def owner(self) -> str | None:
        """Whom the remote belongs to, where that could be a namespace on the Hub."""
        page = self.git.page if self.git else None
        parts = urlsplit(page).path.strip("/").split("/") if page else []
        owner = parts[0] if len(parts) > 1 else ""
        return owner if owner and not HUB.problem(owner) else None

    @property
    def changelog(self) -> str | None:
        """The changelog that is there, by its name."""
        names = {path.name.upper(): path.name for path in self.root.iterdir() if path.is_file()}
        return next((names[name.upper()] for name in _CHANGELOGS if name.upper() in names), None)

    def has(self, name: str) -> bool:
        """Whether there is something of that name below the root."""
        return os.path.lexists(self.root / name)

    def text_of(self, name: str) -> str | None:
        """The text of a file below the root, None where there is none. Raises ReleaseError where it is no text."""
        path = self.root / name
        if not self.has(name):
            return None
        check_file(path, name)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ReleaseError(f"{name} is no text in UTF-8", remedy="save it as UTF-8, or move it away") from None


def check_file(path: Path, name: str) -> None:
    """Raise ReleaseError for what is there in a file's place and is none."""
    if path.is_dir():
        raise ReleaseError(f"{name} is a folder, where a file belongs", remedy="move it away")
    if path.is_symlink() and not path.exists():
        raise ReleaseError(f"{name} is a link to nothing", remedy="remove it, or have it lead somewhere")
    if not path.is_file():
        raise ReleaseError(f"{name} is no file: a pipe, a socket or a device", remedy="move it away")


def look(root: Path, environment: Mapping[str, str] = os.environ) -> Facts:
    """Look at a folder. Raises ReleaseError for what cannot be read."""
    root = root.resolve()
    runs, models = find_adapters(root), find_models(root)
    return Facts(
        root=root,
        git=_git(root, [*(run.path for run in runs), *models]),
        runs=tuple(runs),
        models=tuple(models),
        logged_in=_logged_in(environment),
    )


def _git(root: Path, paths: Sequence[Path]) -> GitFacts | None:
    try:
        repository = Repository(root)
    except ReleaseError:
        return None
    with repository:
        if repository.is_bare:
            raise ReleaseError(
                f"{repository.folder} is a bare repository, without the files of any commit",
                remedy=f"set up a clone of it: git clone {repository.folder}",
            )
        try:
            repository.head()
            has_commit = True
        except ReleaseError:
            has_commit = False
        # Where there is no `origin` and one other, that is meant.
        names = repository.remotes()
        name = names[0] if len(names) == 1 else _ORIGIN
        return GitFacts(
            top=repository.folder.resolve(),
            remote=repository.remote_url(name),
            remote_name=name,
            has_commit=has_commit,
            ignored=frozenset(repository.ignored(paths)),
        )


def _logged_in(environment: Mapping[str, str]) -> bool:
    """Whether there is a token: in the environment, or where `hf auth login` leaves one."""
    from huggingface_hub import constants

    token = Path(environment.get("HF_TOKEN_PATH") or constants.HF_TOKEN_PATH)
    return bool(environment.get("HF_TOKEN")) or (token.is_file() and bool(token.read_bytes().strip()))
