"""A base model from the Hub, pinned to the commit that its revision resolved to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.hub.access import hub_errors
from tagship.hub.connection import HUGGING_FACE, Hub
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import MODEL_FILES, TOKENIZER_FILES, BaseFolder, check_base_folder
from tagship.system.errors import ReleaseError, ToolError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_WANTED = (*MODEL_FILES, *TOKENIZER_FILES, "*.safetensors", "*.safetensors.index.json", "README.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a base model is: on this disk already, or at a commit of a Hub. `size` is what is
    still to be fetched, in bytes."""

    base: BaseModel
    api: "HfApi | None" = None
    revision: str | None = None
    size: int = 0


def locate_base(base: BaseModel, hub: Hub) -> Located:
    """Find a base model without fetching it: in its folder, on the release's own Hub, or on
    huggingface.co where that Hub is the embedded one.

    Raises ReleaseError when no Hub has it or it is gated, ToolError when none can be reached.
    """
    if base.path is not None:
        return Located(base=base)
    from fnmatch import fnmatch

    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    for api in _clients(hub):
        try:
            with hub_errors(f"look up the base model {base.id}"):
                info = api.model_info(base.id, revision=base.revision, files_metadata=True)
        except ToolError as error:
            if isinstance(error.__cause__, GatedRepoError):
                raise ReleaseError(
                    f"the base model {base.id} is gated",
                    remedy="accept its terms on its page, and set HF_TOKEN",
                ) from None
            if isinstance(error.__cause__, RepositoryNotFoundError | RevisionNotFoundError):
                continue
            raise
        files = [file for file in info.siblings or () if any(fnmatch(file.rfilename, want) for want in _WANTED)]
        size = sum(file.size or 0 for file in files)
        return Located(base=base, api=api, revision=info.sha, size=size)
    at = f" at {base.revision}" if base.revision else ""
    raise ReleaseError(
        f"there is no model {base.id}{at} on the Hub, or the token may not see it",
        remedy=f'name it with --base, or say where it is: [bases."{base.id}"] path = "FOLDER"',
    )


def fetch_base(located: Located) -> BaseFolder:
    """The base model on this disk, fetched into the Hub's own cache where it was not.

    Raises ReleaseError when it is not whole, ToolError when fetching fails.
    """
    base = located.base
    if base.path is not None:
        return check_base_folder(base.id, base.path, revision=base.revision, license_id=base.license)
    assert located.api is not None
    with hub_errors(f"fetch the base model {base.id}"):
        folder = located.api.snapshot_download(base.id, revision=located.revision, allow_patterns=list(_WANTED))
    return check_base_folder(base.id, Path(folder), revision=located.revision, license_id=base.license)


def _clients(hub: Hub) -> "Iterator[HfApi]":
    if hub.has_repos:  # an embedded Hub that was never published to has no base either
        yield hub.api
    if hub.embedded:
        from huggingface_hub import HfApi

        yield HfApi(endpoint=HUGGING_FACE, library_name="tagship")
