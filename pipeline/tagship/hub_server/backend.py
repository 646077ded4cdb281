"""Everything that the routes work on: the state under one root folder."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tagship.hub_server.access import Access, Caller
from tagship.hub_server.blobs import BlobStore, sweep
from tagship.hub_server.content import LargeFiles
from tagship.hub_server.directory import Directory, Right
from tagship.hub_server.durable import make_folder
from tagship.hub_server.exchange import Exchange
from tagship.hub_server.history import resolve
from tagship.hub_server.kinds import Kind, kind_of
from tagship.hub_server.mending import mend
from tagship.hub_server.names import RESERVED
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.repos import Repo, RepoStore
from tagship.hub_server.signing import Signer
from tagship.hub_server.store_lock import StoreLock
from tagship.hub_server.xet import XetStore


class Backend(Struct, frozen=True, kw_only=True):
    """The stores of one Hub; all state is in files, so that servers can share it and restart.

    `page_size` is how many models a page of a list has at the most.
    """

    root: Path
    page_size: int
    scratch: Path
    stores: Mapping[Kind, RepoStore]
    files: LargeFiles
    access: Access
    signer: Signer
    lock: StoreLock

    @classmethod
    def of_root(cls, root: Path, *, directory: Directory, page_size: int) -> "Backend":
        """The Hub under `root`, which is made if it doesn't exist."""
        scratch = root / "tmp"
        folders = {Kind.MODEL: root / "repos", Kind.DATASET: root / "datasets"}
        for folder in (scratch, *folders.values(), root / "blobs", root / "xet"):
            make_folder(folder)
            # Also where an older version made it: what is private is its owner's.
            folder.chmod(0o700)
        sweep(scratch)
        stores = {kind: RepoStore(kind=kind, folder=folder, scratch=scratch) for kind, folder in folders.items()}
        for store in stores.values():
            for repo in store.all():
                mend(repo, scratch=scratch)
        signer = Signer.of_root(root)
        return cls(
            root=root,
            page_size=page_size,
            scratch=scratch,
            stores=stores,
            files=LargeFiles(
                blobs=BlobStore(folder=root / "blobs"),
                xet=XetStore(folder=root / "xet", scratch=scratch),
            ),
            access=Access(directory=directory, exchange=Exchange(publishers=directory.publishers, signer=signer)),
            signer=signer,
            lock=StoreLock(root),
        )

    def repos(self) -> list[Repo]:
        """Every repository of every kind."""
        return [repo for store in self.stores.values() for repo in store.all()]

    def readable(self, request: Request) -> Repo:
        """The repository in the request's path, if this request may see it.

        Raises HubProblem: 307 if the repository has another name now, 401, 404 as `require_read`.
        """
        asked = param(request, "namespace"), param(request, "name")
        if asked[0] in RESERVED:
            raise HTTPException(404)  # an unknown address of the API only looks like one of a repository
        repo = self.stores[kind_of(request)].follow(*asked)
        # One who may not see it isn't told the new name either.
        self.access.require_read(request, repo)
        if asked != (repo.namespace, repo.name):
            raise moved(request, repo.id)
        return repo

    def opened(self, request: Request) -> Repo:
        """The repository in the request's path, if this request may read its files. Raises HubProblem."""
        repo = self.readable(request)
        self.access.require_files(request, repo)
        return repo

    def may_open(self, request: Request, repo: Repo) -> bool:
        """Whether this request may read the files of a repository that it may see."""
        try:
            self.access.require_files(request, repo)
        except HubProblem:
            return False
        return True

    def writable(self, request: Request) -> Repo:
        """The repository in the request's path, if this request may change it. Raises HubProblem."""
        self.access.require_write(request)
        repo = self.readable(request)
        self.access.require_write(request, repo)
        return repo

    def owned(self, request: Request) -> Repo:
        """The repository in the request's path, if this request may do more to it than write. Raises HubProblem."""
        repo = self.writable(request)
        self.access.require_owner(request, repo)
        return repo

    def discussed(self, request: Request) -> tuple[Repo, Caller]:
        """The repository in the request's path and who asks, if they may speak there. Raises HubProblem (401, 403)."""
        caller, repo = self.access.require(request), self.readable(request)
        if not self.access.may(caller, repo, Right.DISCUSS):
            raise HubProblem(403, f"Forbidden: {caller.user.name} may not take part in {repo.id} with this token")
        return repo, caller

    def revision(self, request: Request, repo: Repo) -> str:
        """The commit of the `{revision}` in the request's path. Raises HubProblem (404)."""
        return resolve(repo, param(request, "revision"))

    def cas_url(self, request: Request) -> str:
        """Where this Hub's CAS API is.

        It names the root folder, and how often xorbs were removed there: a client remembers which chunks an
        address already has, and must not do so for another Hub that happens to get the same port.
        """
        return f"{base_url(request)}/xet/{self.signer.root_id}-{self.files.xet.generation}"


def backend(request: Request) -> Backend:
    """The Hub that the request came to."""
    found = request.app.state.backend
    assert isinstance(found, Backend)
    return found


def moved(request: Request, repo_id: str) -> HubProblem:
    """The 307 to the same address with the repository's new name; relative, as the client expects.

    It leaves nothing out: `huggingface_hub`, git and git-lfs repeat their request there as it was.
    """
    path, query = request.url.path, request.url.query
    old = f"{request.path_params['namespace']}/{request.path_params['name']}"
    prefix = path[: path.index(old)]
    location = f"{prefix}{repo_id}{path.removeprefix(f'{prefix}{old}')}{f'?{query}' if query else ''}"
    return HubProblem(307, f"Temporary Redirect. Redirecting to {location}", headers={"Location": location})


def param(request: Request, name: str) -> str:
    """A part of the request's path, decoded. (guard.py leaves the path encoded, for `refs%2Fx`.)"""
    return unquote(str(request.path_params[name]))


def base_url(request: Request) -> str:
    """The address under which the client reached the Hub."""
    return str(request.base_url).rstrip("/")
