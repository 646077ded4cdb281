"""The bare git repositories of the Hub: made, found, listed, moved, deleted."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.hub.server.attributes import DEFAULT_GITATTRIBUTES
from pipeline.hub.server.git import Git
from pipeline.hub.server.names import check_repo_id, split_repo_id
from pipeline.hub.server.problem import HubProblem, repo_not_found

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
        value = self.git.asks("config", "--local", "--get", f"tagship.{key}")
        return None if value is None else value.decode().strip()

    def set(self, key: str, value: str) -> None:
        """Keep a setting."""
        self.git.run("config", "--local", f"tagship.{key}", value)

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

    def find(self, namespace: str, name: str) -> Repo:
        """The repository of that name. Raises HubProblem: 404 if there is none, 400 for a bad name."""
        path = self._path(namespace, name)
        if not path.is_dir():
            raise repo_not_found(f"{namespace}/{name}")
        return Repo(namespace=namespace, name=name, git=Git(git_dir=path))

    def all(self) -> Iterator[Repo]:
        """Every repository, sorted by name."""
        for path in sorted(self.folder.glob("*/*.git")):
            name = path.name.removesuffix(".git")
            yield Repo(namespace=path.parent.name, name=name, git=Git(git_dir=path))

    def create(self, namespace: str, name: str, *, private: bool) -> Repo:
        """A new repository with the Hub's initial commit, visible only when complete.

        Raises HubProblem: 409 if it exists, 400 for a bad name.
        """
        path = self._path(namespace, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            draft = Repo(namespace=namespace, name=name, git=Git(git_dir=Path(folder, "new.git")))
            draft.git.run("init", "--bare", "--quiet", f"--initial-branch={DEFAULT_BRANCH}", "--template=")
            if private:
                draft.set("private", "true")
            _initial_commit(draft.git, Path(folder, "index"))
            _rename_new(draft.git.git_dir, path, f"{namespace}/{name}")
        return Repo(namespace=namespace, name=name, git=Git(git_dir=path))

    def move(self, repo: Repo, to_id: str) -> None:
        """Rename a repository. Raises HubProblem: 409 if the new name is taken, 400 if it is bad."""
        target = self._path(*split_repo_id(to_id))
        target.parent.mkdir(parents=True, exist_ok=True)
        _rename_new(repo.git.git_dir, target, to_id)

    def delete(self, repo: Repo) -> None:
        """Remove a repository; it disappears at once, then its files do."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            try:
                os.rename(repo.git.git_dir, Path(folder, "old.git"))
            except FileNotFoundError as error:
                raise repo_not_found(repo.id) from error
            shutil.rmtree(Path(folder, "old.git"))


def _rename_new(source: Path, target: Path, repo_id: str) -> None:
    """Rename a folder, never onto another repository. Raises HubProblem (409)."""
    try:
        os.rename(source, target)  # a folder that is not empty is never replaced, so this is atomic
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise HubProblem(409, f"You already created this model repo: {repo_id}") from error
        raise


def _initial_commit(git: Git, index: Path) -> None:
    blob = git.line("hash-object", "-w", "--stdin", feed=DEFAULT_GITATTRIBUTES.encode())
    git.run("update-index", "--index-info", feed=f"100644 {blob}\t.gitattributes\n".encode(), index=index)
    tree = git.line("write-tree", index=index)
    commit = git.line("commit-tree", tree, "-F", "-", feed=b"initial commit\n")
    git.run("update-ref", f"refs/heads/{DEFAULT_BRANCH}", commit)
