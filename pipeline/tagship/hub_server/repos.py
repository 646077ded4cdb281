"""The bare git repositories of the Hub: made, found, listed, moved, deleted."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from tagship.hub_server import former_names
from tagship.hub_server.attributes import DEFAULT_GITATTRIBUTES
from tagship.hub_server.durable import make_folder, sync, sync_tree
from tagship.hub_server.git import EMAIL, IDENTITY, Git, GitFailed
from tagship.hub_server.git_reader import READERS
from tagship.hub_server.kinds import Kind
from tagship.hub_server.names import check_new_repo_id, check_repo_id, split_repo_id
from tagship.hub_server.problem import HubProblem, repo_not_found
from tagship.hub_server.records import Record

DEFAULT_BRANCH = "main"

T = TypeVar("T")


class Repo(Struct, frozen=True, kw_only=True):
    """One repository."""

    kind: Kind
    namespace: str
    name: str
    git: Git

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"/{self.kind.prefix}{self.id}"

    def setting(self, key: str) -> str | None:
        """A setting such as `private`, kept in the repository's own git configuration."""
        return self.git.setting("tagship", key)

    def set(self, key: str, value: str) -> None:
        """Keep a setting."""
        self.git.change("config", "--local", f"tagship.{key}", value)

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """The first settings of a repository that nobody knows yet; values are words."""
        with (self.git.git_dir / "config").open("a", encoding="utf-8") as file:
            file.writelines(["[tagship]\n", *(f"\t{key} = {value}\n" for key, value in settings.items())])

    @property
    def exists(self) -> bool:
        """Whether it is still there: others may move or delete it at any time.

        Not just a folder: a git that ran while the repository was moved may leave an empty one.
        """
        return (self.git.git_dir / "HEAD").is_file()

    @property
    def private(self) -> bool:
        """Whether only its namespace may see it."""
        return self.setting("private") == "true"

    @property
    def gated(self) -> str | None:
        """`auto` or `manual` if one has to ask for its files, else None."""
        gated = self.setting("gated")
        return gated if gated in ("auto", "manual") else None

    def record(self, name: str) -> Record:
        """A document about it, which moves and goes with it."""
        return Record(self.git.git_dir / f"{name}.json")

    @contextmanager
    def change_record(self, name: str) -> Iterator[dict[str, Any]]:
        """Change a document about it. Raises GitFailed if the repository is not at its place any longer."""
        with self.git.held(fcntl.LOCK_SH), self.record(name).change() as data:
            yield data


def unless_gone(repo: Repo, look: Callable[[Repo], T], *, looks: int = 3) -> T | None:
    """What `look` finds; None if the repository was moved or deleted while it looked. Where another has taken its place
    by then, that one is looked at, so many times together."""
    try:
        return look(repo)
    except (GitFailed, HubProblem):
        if not repo.exists:
            return None
        if looks == 1:
            raise
    return unless_gone(repo, look, looks=looks - 1)


class RepoStore(Struct, frozen=True, kw_only=True):
    """Repositories of one kind at `folder/<namespace>/<name>.git`; `scratch` is on the same disk."""

    kind: Kind
    folder: Path
    scratch: Path

    def _path(self, namespace: str, name: str) -> Path:
        check_repo_id(namespace, name)
        return self.folder / namespace / f"{name}.git"

    def _repo_at(self, path: Path) -> Repo:
        name = path.name.removesuffix(".git")
        return Repo(kind=self.kind, namespace=path.parent.name, name=name, git=Git(git_dir=path))

    def _spelled(self, namespace: str, name: str) -> Path | None:
        """Where the repository is whose name differs at most in upper and lower case: the Hub tells none apart."""
        wanted = f"{name}.git".lower()
        folders = [found for found in self.folder.iterdir() if found.name.lower() == namespace.lower()]
        heads = (head.parent for folder in folders for head in folder.glob("*.git/HEAD"))
        return next((path for path in heads if path.name.lower() == wanted), None)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """While this is held, no server on this folder moves a repository; a killed one lets go of it."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _paths(self) -> Iterator[Path]:
        return (head.parent for head in self.folder.glob("*/*.git/HEAD"))

    def find(self, namespace: str, name: str) -> Repo:
        """The repository of that name. Raises HubProblem: 404 if there is none, 400 for a bad name."""
        repo = self._repo_at(self._path(namespace, name))
        if not repo.exists:
            raise repo_not_found()
        return repo

    def follow(self, namespace: str, name: str) -> Repo:
        """The repository that has this name or, before it was moved, had it. Raises as `find` does."""
        repo = self._repo_at(self._path(namespace, name))
        if repo.exists:
            return repo
        with self._still():
            path = self._spelled(namespace, name) or former_names.owner(self._paths(), namespace, name)
        if path is None:
            raise repo_not_found()
        return self._repo_at(path)

    def all(self) -> list[Repo]:
        """Every repository, sorted by namespace and name."""
        with self._still():
            repos = [self._repo_at(path) for path in self._paths()]
        return sorted(repos, key=lambda repo: (repo.namespace, repo.name))

    def of_namespace(self, namespace: str) -> list[Repo]:
        """The repositories of a user or organization, sorted by name."""
        with self._still():
            repos = [self._repo_at(head.parent) for head in (self.folder / namespace).glob("*.git/HEAD")]
        return sorted(repos, key=lambda repo: repo.name)

    def create(self, namespace: str, name: str, *, settings: Mapping[str, str], source: Repo | None = None) -> Repo:
        """A new repository with the Hub's initial commit, or with all of `source`; visible only when complete.

        Raises HubProblem: 409 if it exists, in whatever case, 400 for a bad name.
        """
        check_new_repo_id(namespace, name)
        path = self._path(namespace, name)
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            draft = Repo(kind=self.kind, namespace=namespace, name=name, git=Git(git_dir=Path(folder, "new.git")))
            draft.git.git_dir.mkdir(mode=0o700)
            draft.git.run("init", "--bare", "--quiet", f"--initial-branch={DEFAULT_BRANCH}", "--template=")
            draft.write_settings(settings)
            if source is None:
                _initial_commit(draft.git)
            else:
                branches, tags = (f"refs/{kind}/*:refs/{kind}/*" for kind in ("heads", "tags"))
                draft.git.run("fetch", "--quiet", str(source.git.git_dir), branches, tags)
            sync_tree(draft.git.git_dir)
            with self._still():
                if found := self._spelled(namespace, name):
                    raise _taken(self._repo_at(found))
                self._rename_new(draft.git.git_dir, path)
                former_names.forget(self._paths(), namespace, name)
        return self._repo_at(path)

    def move(self, repo: Repo, to_id: str) -> None:
        """Rename a repository; the old name leads to the new one until another repository takes it.

        The rename does both at once (former_names.py). Raises HubProblem: 409 if the new name is
        taken, 400 if it is bad, 404 if somebody else has just moved or deleted the repository.
        """
        namespace, name = split_repo_id(to_id)
        check_new_repo_id(namespace, name)
        target = self._path(namespace, name)
        with self._still():
            if not repo.exists:
                raise repo_not_found()
            # Only the case of its own name may change.
            if self._spelled(namespace, name) not in (None, repo.git.git_dir) or target == repo.git.git_dir:
                raise HubProblem(409, f"A {self.kind.value} repository called {to_id} already exists")
            with repo.git.held(fcntl.LOCK_EX):
                make_folder(target.parent)
                former_names.remember(repo.git.git_dir, repo.namespace, repo.name)
                self._rename_new(repo.git.git_dir, target)
                sync(repo.git.git_dir.parent)
            former_names.forget(self._paths(), namespace, name)

    def delete(self, repo: Repo) -> None:
        """Remove a repository; it disappears at once, then its files do."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            try:
                os.rename(repo.git.git_dir, Path(folder, "old.git"))
            except FileNotFoundError as error:
                raise repo_not_found() from error
            sync(repo.git.git_dir.parent)
            READERS.close(repo.git.git_dir)
            shutil.rmtree(Path(folder, "old.git"))

    def _rename_new(self, source: Path, target: Path) -> None:
        """Rename a folder, never onto another repository. Raises HubProblem (409)."""
        try:
            os.rename(source, target)  # a folder that is not empty is never replaced, so this is atomic
            sync(target.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise _taken(self._repo_at(target)) from error
            raise


def _taken(repo: Repo) -> HubProblem:
    return HubProblem(409, f"You already created this {repo.kind.value} repo: {repo.id}")


def _initial_commit(git: Git) -> None:
    """The commit that the Hub makes, by one process and in one pack; `sync_tree` waits for the disk."""
    content, message = DEFAULT_GITATTRIBUTES.encode(), b"initial commit\n"
    stream = (
        f"commit refs/heads/{DEFAULT_BRANCH}\ncommitter {IDENTITY} <{EMAIL}> {int(time.time())} +0000\n"
        f"data {len(message)}\n{message.decode()}M 100644 inline .gitattributes\ndata {len(content)}\n"
    )
    options = ("-c", "core.fsync=none", "-c", "fastimport.unpackLimit=1")
    git.run(*options, "fast-import", "--quiet", feed=stream.encode() + content + b"\n")
