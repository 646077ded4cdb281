"""A base model from the Hub, pinned to the commit that its revision resolved to: what a release needs of it, each file
compared with what the Hub says of it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.hub.connection import Hub
from tagship.hub.download_progress import counting
from tagship.hub.failures import hub_errors
from tagship.runs.base import HUGGING_FACE, BaseModel
from tagship.runs.base_code import code_needed
from tagship.runs.base_folder import MODEL_FILES, TOKENIZER_FILES, BaseFolder, check_base_folder
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import sha256_of
from tagship.system.pool import cores
from tagship.system.progress import Advance, silent
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, read_index

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_DESCRIBING = (*MODEL_FILES, *TOKENIZER_FILES, "README.md")
_CODE = ("*.py", "*/*.py")
# What says whether a model needs code of its own.
_CONFIGURATIONS = ("config.json", "tokenizer_config.json")


class RemoteFile(Struct, frozen=True, kw_only=True):
    """A file on the Hub: its size in bytes, and its digest: the content's SHA-256, or the hash that git has of a small
    one."""

    name: str
    size: int
    sha256: str | None
    git_hash: str | None

    def is_in(self, folder: Path, advance: Advance = silent) -> bool:
        """Whether a folder has this very file."""
        path = folder / self.name
        if self.sha256 is not None:
            return sha256_of(path, advance) == self.sha256
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return self.git_hash in (None, blob.hexdigest())


class Located(Struct, frozen=True, kw_only=True):
    """Where a base model is: on this disk already, or at a commit of a Hub, with the files that a release needs."""

    base: BaseModel
    api: "HfApi | None" = None
    revision: str | None = None
    files: tuple[RemoteFile, ...] = ()

    @property
    def described(self) -> "Located":
        """The same without its weights: what describes the model."""
        return replace(self, files=tuple(file for file in self.files if not file.name.endswith(".safetensors")))

    @property
    def size(self) -> int:
        """What is to be fetched, in bytes."""
        return sum(file.size for file in self.files)


def locate_base(base: BaseModel, hub: Hub) -> Located:
    """Find a base model without fetching it: in its folder, on the release's own Hub, or on
    huggingface.co where that Hub is the embedded one.

    Raises ReleaseError when no Hub has it, or not at its revision, or it is gated, ToolError when none can be reached.
    """
    if base.path is not None:
        return Located(base=base)
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    without_revision = False
    for api in clients_for_bases(hub):
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
                without_revision |= isinstance(error.__cause__, RevisionNotFoundError)
                continue
            raise
        files = {file.rfilename: _remote_file(file) for file in info.siblings or ()}
        needed = _needed(api, base, str(info.sha), files)
        return Located(base=base, api=api, revision=info.sha, files=tuple(files[name] for name in sorted(needed)))
    if without_revision:
        raise ReleaseError(
            f"the base model {base.id} has no revision {base.revision} on the Hub",
            remedy=f'say which one the run was trained on: [bases."{base.id}"] revision = "main"',
        )
    at = f" at {base.revision}" if base.revision else ""
    raise ReleaseError(
        f"there is no model {base.id}{at} on the Hub, or the token may not see it",
        remedy=f'name it with --base, or say where it is: [bases."{base.id}"] path = "FOLDER"',
    )


# What shows how far work on so many bytes is, by a label: it gives what to call with each number of them.
Shows = Callable[[str, int], AbstractContextManager[Advance]]


def _unseen(label: str, size: int) -> AbstractContextManager[Advance]:
    return nullcontext(silent)


def fetch_base(located: Located, shows: Shows = _unseen) -> BaseFolder:
    """The base model on this disk, fetched into the Hub's own cache where it was not.

    Raises ReleaseError when it is not whole, ToolError when fetching fails, or when a file is not the Hub's.
    """
    base = located.base
    folder, revision = base.path, base.revision
    if folder is None:
        folder, revision = _download(located, located.files, shows), located.revision
    return check_base_folder(base, folder, revision=revision)


def code_of_base(located: Located) -> tuple[str, ...]:
    """The classes of its own that a base model needs (`code_needed`), from its configurations alone, which are fetched.
    Raises ReleaseError for malformed JSON, ToolError when fetching fails, or when a file is not the Hub's."""
    folder = located.base.path
    if folder is not None:
        return code_needed(folder, [path.name for path in folder.glob("*")])
    folder = _download(located, [file for file in located.files if file.name in _CONFIGURATIONS])
    return code_needed(folder, [file.name for file in located.files])


def _download(located: Located, files: Sequence[RemoteFile], shows: Shows = _unseen) -> Path:
    """The folder in the Hub's cache that has these files of a base model, each the Hub's."""
    assert located.api is not None
    base, size = located.base, sum(file.size for file in files)
    with hub_errors(f"fetch the base model {base.id}"), shows(f"fetching {base.id}", size) as advance:
        found = located.api.snapshot_download(
            base.id,
            revision=located.revision,
            allow_patterns=[escape(file.name) for file in files],
            tqdm_class=counting(advance),
        )
    with shows(f"comparing {base.id} with the Hub's checksums", size) as advance:
        _compare(base, Path(found), files, advance)
    return Path(found)


def _needed(api: "HfApi", base: BaseModel, revision: str, names: Iterable[str]) -> set[str]:
    """Of a repository's files those that describe the model, and its weights: the file that transformers loads, or
    those that the index names. Others are the same weights once more, in other forms. Its code is fetched only where
    it may be run."""
    names = set(names)
    patterns = (*_DESCRIBING, *(_CODE if base.trust_remote_code else ()))
    needed = {name for name in names if any(_matches(name, pattern) for pattern in patterns)}
    if SINGLE_FILE in names:
        return needed | {SINGLE_FILE}
    if INDEX_FILE not in names:
        return needed
    with hub_errors(f"fetch {INDEX_FILE} of {base.id}"):
        index = api.hf_hub_download(base.id, INDEX_FILE, revision=revision)
    return needed | {INDEX_FILE} | (set(read_index(Path(index))["weight_map"].values()) & names)


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _remote_file(file: Any) -> RemoteFile:
    return RemoteFile(
        name=file.rfilename,
        size=file.size or 0,
        sha256=file.lfs.sha256 if file.lfs else None,
        git_hash=None if file.lfs else file.blob_id,
    )


def _compare(base: BaseModel, folder: Path, files: Iterable[RemoteFile], advance: Advance) -> None:
    """Raise ToolError for files that are not what the Hub has: damaged on the way, on the disk, or written over."""
    files = list(files)
    with ThreadPoolExecutor(cores()) as threads:
        same = list(threads.map(lambda file: file.is_in(folder, advance), files))
    damaged = [file.name for file, is_same in zip(files, same, strict=True) if not is_same]
    if damaged:
        paths = " ".join(str((folder / name).resolve()) for name in damaged)
        raise ToolError(
            f"the base model {base.id} was damaged on its way or on the disk: {', '.join(damaged)} is not the Hub's",
            remedy=f"remove it, and run this again: rm {paths}",
        )


def clients_for_bases(hub: Hub) -> "Iterator[HfApi]":
    """The Hubs that a base may be on: the release's own, and huggingface.co where that is the embedded one."""
    if hub.has_repos:  # an embedded Hub that was never published to has no base either
        yield hub.api
    if hub.embedded:
        yield hub.other(HUGGING_FACE)
