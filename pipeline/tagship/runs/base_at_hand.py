"""What of a base model is on this disk, before anything is fetched: also of one that is only partly here."""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.runs.base import BaseModel
from tagship.system.json_files import read_object
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, read_index, shard_names

_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
FOLDER, CACHE, NOWHERE = "folder", "cache", "nowhere"


class WeightFiles(Struct, frozen=True, kw_only=True):
    """Which file has each tensor, by an index, and the size of all tensors in bytes where it says so; of a single file
    only its name is known."""

    names: tuple[str, ...]
    shards: Mapping[str, str]
    total: int | None

    @classmethod
    def of_index(cls, index: Mapping[str, Any]) -> "WeightFiles":
        """The files that an index names. Raises ReleaseError when one of them is no file beside it."""
        weight_map = index["weight_map"]
        metadata = index.get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        return cls(
            names=tuple(shard_names(weight_map)),
            shards=weight_map,
            total=int(total) if isinstance(total, int | float) and isfinite(total) else None,
        )


SINGLE = WeightFiles(names=(SINGLE_FILE,), shards={}, total=None)


class BaseAtHand(Struct, frozen=True, kw_only=True):
    """A base model as far as this disk has it: in a `folder` of one's own, in the Hub's `cache` at a commit, or
    `nowhere`. `config` is its config.json, empty where that is not here; `files` its weights', None where nothing tells
    them."""

    place: str
    folder: Path | None
    commit: str | None
    config: Mapping[str, Any]
    files: WeightFiles | None

    @property
    def here(self) -> tuple[str, ...]:
        """The files of weights that are here."""
        if self.folder is None or self.files is None:
            return ()
        return tuple(name for name in self.files.names if (self.folder / name).is_file())


def base_at_hand(base: BaseModel) -> BaseAtHand:
    """Look where a base model is. Raises ReleaseError for a file of it that is malformed."""
    place, folder, commit = FOLDER, base.path, None
    if folder is None:
        folder, commit = _cached(base)
        place = CACHE if folder else NOWHERE
    return BaseAtHand(
        place=place,
        folder=folder,
        commit=commit,
        config=read_object(folder / "config.json") if folder else {},
        files=_files(folder) if folder else None,
    )


def _files(folder: Path) -> WeightFiles | None:
    if (folder / SINGLE_FILE).is_file():
        return SINGLE
    if (folder / INDEX_FILE).is_file():
        return WeightFiles.of_index(read_index(folder / INDEX_FILE))
    return None


def _cached(base: BaseModel) -> tuple[Path | None, str | None]:
    """The snapshot of the Hub's cache at the base's revision, and its commit."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repo = Path(HF_HUB_CACHE, f"models--{base.id.replace('/', '--')}")
    revision = base.revision or "main"
    if not _REVISION.fullmatch(revision):  # a path, perhaps: what an adapter records is not ours
        return None, None
    named = repo / "refs" / revision
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    folder = repo / "snapshots" / commit
    return (folder, commit) if folder.is_dir() else (None, None)
