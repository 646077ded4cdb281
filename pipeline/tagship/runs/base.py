"""The base model of a run: which one it is by its Hub id, and the folder that has its weights."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.naming.name_rules import HUB
from tagship.system.errors import ReleaseError

# The Hub that ids of models are of.
HUGGING_FACE = "https://huggingface.co"
# A folder of the Hub's own cache says which model it has, at which commit.
_IN_A_CACHE = re.compile(r"(?:^|[/\\])models--(?P<name>[^/\\]+)[/\\]snapshots[/\\](?P<commit>[0-9a-f]{40})[/\\]?$")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class BaseModel(Struct, frozen=True, kw_only=True):
    """A base model before it is fetched, by its Hub id.

    `path` is a folder with its weights where they are at hand, `publish` whether a release puts
    it on the Hub where it is not there yet (`[bases."org/name"]` in release.toml). `license`, with a name and a link
    where it is `other`, replaces what its own card says. `quantized` are the ids of its quantized forms: a run that was
    trained on one of them is merged into this one. `trained_in` is what it was held in while runs that do not say so
    were trained on it (`TRAINED_IN` in runs/quantized.py). `trust_remote_code` is whether code of its own may be run.
    """

    id: str
    path: Path | None = None
    revision: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    publish: bool = False
    quantized: tuple[str, ...] = ()
    trained_in: str | None = None
    trust_remote_code: bool = False


def resolve_base(reference: str, revision: str | None, bases: Mapping[str, BaseModel], root: Path) -> BaseModel:
    """Which model `reference` (a Hub id or a folder, as adapters record it) means, at which revision: the policy's,
    else the recorded one. Of a folder the recorded one holds only where it is a commit: nothing else says what it was.

    Raises ReleaseError for a folder whose Hub id nobody told, as the card, the names and the
    adapter all need it, and for what is neither a folder nor a Hub id.
    """
    # os.path's: a name that is too long is no folder.
    folder = next((path for path in (root / reference, Path(reference)) if reference and os.path.isdir(path)), None)
    cached = _IN_A_CACHE.search(reference)
    if folder is not None and cached is None:
        known = next((base for base in bases.values() if base.path == folder.resolve()), None)
        if known is None:
            gone = next((base for base in bases.values() if base.path and not base.path.exists()), None)
            told = f', and [bases."{gone.id}"] path is {gone.path}, which is not there' if gone else ""
            named = gone.id if gone else "organisation/name"
            raise ReleaseError(
                f"the base model {reference} is a folder, and nothing says which model on the Hub it is{told}",
                remedy=f'{"say in" if gone else "add to"} release.toml: [bases."{named}"] path = "{reference}"',
            )
        return known
    if cached is not None:
        reference, revision = cached["name"].replace("--", "/", 1), cached["commit"]
    if (whole := next((base for base in bases.values() if reference in base.quantized), None)) is not None:
        return whole  # the revision is of the quantized one
    if reference in bases:
        base = bases[reference]
        recorded = revision if base.path is None or _COMMIT.fullmatch(revision or "") else None
        return replace(base, revision=base.revision or recorded)
    parts = reference.split("/")
    if len(parts) > 2 or any(map(HUB.problem, parts)):
        raise ReleaseError(
            f"the base model {reference!r:.200} is neither a folder here nor a model's id on the Hub",
            remedy="name it with --base, as organisation/name or as a folder",
        )
    return BaseModel(id=reference, revision=revision, path=folder)
