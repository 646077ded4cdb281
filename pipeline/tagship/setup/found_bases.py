"""The base model of a run, as far as this disk tells: which one it is on the Hub, or a folder with its weights."""

import configparser
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from tagship.naming.name_rules import HUB
from tagship.runs.base import HUGGING_FACE, resolve_base
from tagship.runs.base_folder import card_data_of
from tagship.setup.found_runs import folders_below
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.weights.adapter_config import CONFIG_FILE


class FoundBase(Struct, frozen=True, kw_only=True):
    """What an adapter's `reference` to its base is here. `id` is the model's on the Hub, None where nothing tells it;
    `path` the folder with its weights, None where it is to be fetched; `license` what its card says. `elsewhere` is
    whether the reference leads nowhere here; where there is one model alone, that is taken for it."""

    reference: str
    id: str | None = None
    path: Path | None = None
    license: str | None = None
    elsewhere: bool = False

    @property
    def suggested_name(self) -> str:
        """A name for a repository of it, which says its family: people go by that, and llama.cpp takes from names how
        the tokenizers of some families read."""
        assert self.path is not None
        name = self.path.name
        family = read_object(self.path / "config.json").get("model_type")
        if not isinstance(family, str) or _compact(family) in _compact(name):
            return HUB.nearest(name)
        return HUB.nearest(f"{family}-{name}")


def find_models(root: Path) -> list[Path]:
    """The folders below one that have whole models in them."""
    return [
        path
        for path, files in folders_below(root)
        if "config.json" in files and CONFIG_FILE not in files and any(file.endswith(".safetensors") for file in files)
    ]


def find_base(reference: str, root: Path, models: Sequence[Path]) -> FoundBase:
    """The base model that an adapter names; `models` are those that are here."""
    folder = next((path for path in (root / reference, Path(reference)) if reference and os.path.isdir(path)), None)
    try:
        known = resolve_base(reference, None, {}, root).id
    except ReleaseError:
        if folder is not None:
            return _of_folder(reference, folder.resolve())
        if len(models) == 1:
            return _of_folder(reference, models[0].resolve(), elsewhere=True)
        return FoundBase(reference=reference, elsewhere=True)
    here = next((path for path in models if path.name == known.rpartition("/")[2]), None)
    return FoundBase(reference=reference, id=known, path=here and here.resolve())


def _of_folder(reference: str, folder: Path, *, elsewhere: bool = False) -> FoundBase:
    said = card_data_of(folder).get("license")
    return FoundBase(
        reference=reference,
        id=_told_id(folder),
        path=folder,
        license=said if isinstance(said, str) else None,
        elsewhere=elsewhere,
    )


def _told_id(folder: Path) -> str | None:
    """The id on the Hub that a folder's own files tell: where transformers loaded it from, or git cloned it."""
    named = read_object(folder / "config.json").get("_name_or_path")
    if isinstance(named, str) and is_model_id(named) and not (folder / named).exists():
        return named
    git = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        git.read(folder / ".git" / "config", encoding="utf-8")
        url = urlsplit(git.get('remote "origin"', "url", fallback=""))
    except (configparser.Error, UnicodeDecodeError, ValueError):
        return None
    cloned = url.path.strip("/").removesuffix(".git")
    return cloned if url.hostname == urlsplit(HUGGING_FACE).hostname and is_model_id(cloned) else None


def is_model_id(text: str) -> bool:
    """Whether a text has the form `organisation/name`."""
    parts = text.split("/")
    return len(parts) == 2 and not any(map(HUB.problem, parts))


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
