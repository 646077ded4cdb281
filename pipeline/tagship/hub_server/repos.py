"""The bare git repositories of the Hub: made, found, listed, moved, deleted."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagship.hub_server import former_names
from tagship.hub_server.attributes import DEFAULT_GITATTRIBUTES
from tagship.hub_server.durable import make_folder, sync, sync_tree
from tagship.hub_server.git import EMAIL, IDENTITY, Git
from tagship.hub_server.git_reader import READERS
from tagship.hub_server.names import check_repo_id, split_repo_id
from tagship.hub_server.problem import HubProblem, repo_not_found

DEFAULT_BRANCH = "main"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repo:
    """One model repository."""

    namespace: str
    name: str
    git: Git

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def setting(self, key: str) -> str | None:
        """A setting such as `private`, kept in the repository's own git configuration."""
        return self.git.setting("tagship", key)

    def set(self, key: str, value: str) -> None:
        """Keep a setting."""
        self.git.change("config", "--local", f"tagship.{key}", value)

    @property
    def exists(self) -> bool:
        """Whether it is still there: others may move or delete it at any time.

        Not just a folder: a git that ran while the repository was moved may leave an empty one.
        """
        return (self.git.git_dir / "HEAD").is_file()

    @property
    def private(self) -> bool:
        """Whether only known users may see it."""
        return self.setting("private") == "true"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepoStore:
    """Repositories at `folder/<namespace>/<name>.git`; `scratch` is on the same disk."""

    folder: Path
    scratch: Path

    def _path(self, namespace: str, name: str) -> Path:
        check_repo_id(namespace, name)
        return self.folder / namespace / f"{name}.git"

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
        repo = _repo_at(self._path(namespace, name))
        if not repo.exists:
            raise repo_not_found(repo.id)
        return repo

    def follow(self, namespace: str, name: str) -> Repo:
        """The repository that has this name or, before it was moved, had it. Raises as `find` does."""
        repo = _repo_at(self._path(namespace, name))
        if repo.exists:
            return repo
        with self._still():
            path = repo.git.git_dir if repo.exists else former_names.owner(self._paths(), namespace, name)
        if path is None:
            raise repo_not_found(repo.id)
        return _repo_at(path)

    def all(self) -> list[Repo]:
        """Every repository, sorted by namespace and name."""
        with self._still():
            repos = [_repo_at(path) for path in self._paths()]
        return sorted(repos, key=lambda repo: (repo.namespace, repo.name))

    def create(self, namespace: str, name: str, *, private: bool) -> Repo:
        """A new repository with the Hub's initial commit, visible only when complete.

        Raises HubProblem: 409 if it exists, 400 for a bad name.
        """
        path = self._path(namespace, name)
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            draft = Repo(namespace=namespace, name=name, git=Git(git_dir=Path(folder, "new.git")))
            draft.git.git_dir.mkdir(mode=0o700)
            draft.git.run("init", "--bare", "--quiet", f"--initial-branch={DEFAULT_BRANCH}", "--template=")
            if private:
                draft.set("private", "true")
            _initial_commit(draft.git)
            sync_tree(draft.git.git_dir)
            with self._still():
                _rename_new(draft.git.git_dir, path)
                former_names.forget(self._paths(), namespace, name)
        return _repo_at(path)

    def move(self, repo: Repo, to_id: str) -> None:
        """Rename a repository; the old name leads to the new one until another repository takes it.

        The rename does both at once (former_names.py). Raises HubProblem: 409 if the new name is
        taken, 400 if it is bad, 404 if somebody else has just moved or deleted the repository.
        """
        namespace, name = split_repo_id(to_id)
        target = self._path(namespace, name)
        with self._still():
            if not repo.exists:
                raise repo_not_found(repo.id)
            if _repo_at(target).exists:
                raise _taken(to_id)
            with repo.git.held(fcntl.LOCK_EX):
                make_folder(target.parent)
                former_names.remember(repo.git.git_dir, repo.namespace, repo.name)
                _rename_new(repo.git.git_dir, target)
                sync(repo.git.git_dir.parent)
            former_names.forget(self._paths(), namespace, name)

    def delete(self, repo: Repo) -> None:
        """Remove a repository; it disappears at once, then its files do."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            try:
                os.rename(repo.git.git_dir, Path(folder, "old.git"))
            except FileNotFoundError as error:
                raise repo_not_found(repo.id) from error
            sync(repo.git.git_dir.parent)
            READERS.close(repo.git.git_dir)
            shutil.rmtree(Path(folder, "old.git"))


def _repo_at(path: Path) -> Repo:
    return Repo(namespace=path.parent.name, name=path.name.removesuffix(".git"), git=Git(git_dir=path))


def _taken(repo_id: str) -> HubProblem:
    return HubProblem(409, f"You already created this model repo: {repo_id}")


def _rename_new(source: Path, target: Path) -> None:
    """Rename a folder, never onto another repository. Raises HubProblem (409)."""
    try:
        os.rename(source, target)  # a folder that is not empty is never replaced, so this is atomic
        sync(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _taken(_repo_at(target).id) from error
        raise


def _initial_commit(git: Git) -> None:
    """The commit that the Hub makes, by one process and in one pack; `sync_tree` waits for the disk."""
    content, message = DEFAULT_GITATTRIBUTES.encode(), b"initial commit\n"
    stream = (
        f"commit refs/heads/{DEFAULT_BRANCH}\ncommitter {IDENTITY} <{EMAIL}> {int(time.time())} +0000\n"
        f"data {len(message)}\n{message.decode()}M 100644 inline .gitattributes\ndata {len(content)}\n"
    )
    options = ("-c", "core.fsync=none", "-c", "fastimport.unpackLimit=1")
    git.run(*options, "fast-import", "--quiet", feed=stream.encode() + content + b"\n")
