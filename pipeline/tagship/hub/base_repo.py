"""A release's base model on the Hub: published with it where the policy says so, never changed, and there for all who
take the adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.artifacts.manifest import FileEntry
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.patience import ASIDE, impatiently
from tagship.hub.publish import check_published, publish
from tagship.hub.repository import Standing, remote_files, standing
from tagship.hub.upload import Upload, same_content
from tagship.runs.base import HUGGING_FACE, BaseModel
from tagship.runs.base_files import base_files, makes_the_model
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.progress import Advance, silent
from tagship.system.secrets import check_no_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Gives a file's SHA-256.
Digest = Callable[[Path], str]


def check_base(hub: Hub, base: BaseFolder, digest: Digest) -> bool:
    """Whether a base model is on the Hub, as it is in its folder. An empty repository, which a release that was ended
    left, is none.

    Raises ReleaseError for one with other bytes, or with less of the model: merged models would have those of the
    folder, and the adapter would name a base that it was not verified with. Its card may have been written on.
    """
    files = base_files(base)  # asked for in any case: what may not be published is told before anything is exported
    check_no_secrets(files)
    found = standing(hub, base.id) if hub.has_repos else None
    if found is None or found.unused:
        return False
    with hub_errors(f"look up {base.id}"):
        remote = remote_files(hub, base.id, base.revision) if base.revision else found.files
    names = list(filter(makes_the_model, files))
    missing = [name for name in names if name not in remote]
    # A file of another size is another one, and need not be hashed.
    other = [
        name
        for name in names
        if name in remote
        and (
            remote[name].size != files[name].stat().st_size
            or not same_content(_entry(name, files[name], digest), remote[name], files[name])
        )
    ]
    if missing or other:
        found_so = {"different": other, "not there": missing}
        differences = [f"{', '.join(names)}: {how}" for how, names in found_so.items() if names]
        raise ReleaseError(
            f"the base model {base.id} on the Hub is not the one in {base.path}: {'; '.join(differences)}",
            remedy="a base that is on the Hub is never changed, as adapters name it: give the changed one a name of "
            f'its own in release.toml, [bases."{base.id}-2"], or put back the files that were published',
        )
    return True


def publish_base(hub: Hub, base: BaseFolder, digest: Digest, *, private: bool, advance: Advance = silent) -> bool:
    """Put a base model that is not on the Hub there, as its folder has it. Returns whether it was put.

    An adapter, and a card, that name a base which nobody can fetch are of no use. Raises ReleaseError for another one
    that is there, ToolError when the Hub refuses; the same command then goes on.
    """
    if check_base(hub, base, digest):
        return False
    upload = Upload(
        repo_id=base.id,
        folder=base.path,
        files=tuple(_entry(name, path, digest) for name, path in base_files(base).items()),
        private=private,
        message=f"Publish the base model {base.id}",
        description="",
        tag=None,
    )
    check_published(hub, upload, publish(hub, upload, advance))
    return True


def why_not_fetchable(hub: Hub, base: BaseModel, *, private: bool) -> str | None:
    """Why those who can fetch a release's adapter, everybody unless it is `private`, cannot fetch its base; None where
    they can, or the release publishes it. Raises ToolError when no Hub says so."""
    from huggingface_hub.errors import GatedRepoError

    try:
        found = standing(hub, base.id) if hub.has_repos else None
    except ToolError as error:
        if isinstance(error.__cause__, GatedRepoError):  # who accepts its terms can
            return None
        raise
    if found is not None and not (found.unused and base.publish):
        return _why_not(found, private)
    if base.publish or (hub.embedded and _has(hub.other(HUGGING_FACE), base)):
        return None
    return f"there is no {base.id} on the Hub"


def _why_not(found: Standing, private: bool) -> str | None:
    if found.unused:
        return f"the repo {found.repo_id} is empty"
    return f"{found.repo_id} is private, and the release is not" if found.private and not private else None


def _has(api: "HfApi", base: BaseModel) -> bool:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        with hub_errors(f"look up the base model {base.id}"):
            impatiently(ASIDE, lambda: api.model_info(base.id))
    except ToolError as error:
        if isinstance(error.__cause__, RepositoryNotFoundError) and not isinstance(error.__cause__, GatedRepoError):
            return False
        if not isinstance(error.__cause__, GatedRepoError):
            raise
    return True


def _entry(name: str, path: Path, digest: Digest) -> FileEntry:
    return FileEntry(path=name, size=path.stat().st_size, sha256=digest(path))
