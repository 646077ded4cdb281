"""The files of a base model in a folder that are published with a release: those that make the model, and no others.

A folder that somebody trained in has more than a model: keys, optimizer states, logs. What is published is chosen by
name, and has to be in the folder: what a link leads to elsewhere is not the model's.
"""

import re
from pathlib import Path

from tagship.runs.base_code import classes_named, code_files
from tagship.runs.base_folder import LEGAL_FILES, MODEL_FILES, TOKENIZER_FILES, BaseFolder, matching_files
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, read_index, shard_names

_CARD = "README.md"
_CONFIGURATIONS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
# Where the Hub's cache keeps what its snapshots link to.
_SNAPSHOT = re.compile(r"models--[^/]+/snapshots/[0-9a-f]{40}$")


def base_files(base: BaseFolder) -> dict[str, Path]:
    """The files of a base model that are published, by their POSIX path below its folder. Its own code is among them
    where the policy lets it run.

    Raises ReleaseError for a link that leads out of the folder, and for weights or code that are not there.
    """
    found = matching_files(base.path, (*MODEL_FILES, *TOKENIZER_FILES, _CARD)) | _weights(base.path)
    if base.trust_remote_code:
        documents = [read_object(base.path / name) for name in _CONFIGURATIONS if (base.path / name).is_file()]
        found |= code_files(base.path, [named for document in documents for named in classes_named(document)])
    for name, path in found.items():
        _check_inside(base.path, name, path)
    return dict(sorted(found.items()))


def makes_the_model(name: str) -> bool:
    """Whether a published file makes the model what it is; its card and its license's text only speak of it."""
    return name != _CARD and not any(Path(name).match(pattern) for pattern in LEGAL_FILES)


def _weights(folder: Path) -> dict[str, Path]:
    """The weights in the form that transformers loads."""
    names = [SINGLE_FILE]
    if not (folder / SINGLE_FILE).is_file() and (folder / INDEX_FILE).is_file():
        names = [INDEX_FILE, *shard_names(read_index(folder / INDEX_FILE)["weight_map"])]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ReleaseError(f"the base model in {folder} lacks {missing[0]}", remedy="fetch the model again, whole")
    return {name: folder / name for name in names}


def _check_inside(folder: Path, name: str, path: Path) -> None:
    own = folder.resolve()
    places = [own]
    if _SNAPSHOT.search(own.as_posix()):
        places += [own.parents[1] / "blobs", own.parents[2] / "blobs"]  # of the repository, or shared by all
    target = path.resolve()
    if not any(target.is_relative_to(place) for place in places):
        raise ReleaseError(
            f"{folder / name} would be published with the base model, and is a link to {target}, outside of its folder",
            remedy="put the file itself there, if it is the model's, or remove the link",
        )
