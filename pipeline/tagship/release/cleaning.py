"""What a release has left on this disk and nobody needs: exports and archives that are published, or that newer ones of
the same model and format have followed; and what exports shared that are not here any more."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.archive import drop_checksum, manifest_in
from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import MANIFEST_FILE, TELLING, Manifest, read_manifest
from tagship.hub.connection import Hub
from tagship.hub.repository import published_manifest, remote_files, standing, tags_of
from tagship.policy.config import Config
from tagship.release.export_store import state_of
from tagship.release.sharing import record_of, shared_folders
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of

EXPORT, ARCHIVE, SHARED = "export", "archive", "shared part"


class Left(Struct, frozen=True, kw_only=True):
    """An export or an archive that is here, with what it says of itself, or what exports share, of which there is no
    manifest; `shared` are the folders' names of what an export shares; `why` it goes, or why it is `kept`."""

    path: Path
    what: str
    size: int
    manifest: Manifest | None = None
    shared: frozenset[str] = frozenset()
    why: str | None = None
    kept: str | None = None


def find_left(config: Config) -> list[Left]:
    """The exports and archives that tagship made, as far as they say what they are, and what exports share."""
    return [*_exports(config), *_archives(config.artifacts), *_shared(config)]


def decide(hub: Hub, left: Sequence[Left], keep: int | None) -> list[Left]:
    """Say of each whether it is removed, and why.

    Without `keep` those are removed that the Hub has, with every file as it is here. With it the newest so many of each
    model, format and quantization type stay, and all others go. What exports share goes with the last of them. Raises
    ToolError when the Hub does not answer.
    """
    published = _Published(hub)
    newest = _newest(left, keep) if keep is not None else set()
    said = [(each, each.manifest) for each in left if each.manifest]
    decided = [_decided(each, manifest, keep, newest, published) for each, manifest in said]
    exports = [each for each in decided if each.what == EXPORT]
    return [*decided, *(_decided_of_shared(each, exports) for each in left if each.what == SHARED)]


def remove(config: Config, left: Iterable[Left]) -> int:
    """Remove what is to be removed, each as a whole. Returns the bytes that were freed. Raises ReleaseError."""
    freed = 0
    for each in left:
        if each.why is None:
            continue
        try:
            if each.what in (EXPORT, SHARED):
                record = state_of(config, each.path) if each.what == EXPORT else record_of(each.path)
                record.unlink(missing_ok=True)
                # Under a hidden name first: what is half removed is no export any more.
                gone = each.path.rename(each.path.with_name(f".{each.path.name}.removed"))
                shutil.rmtree(gone)
            else:
                each.path.unlink()
                drop_checksum(each.path)
        except OSError as error:
            raise ReleaseError(
                f"{each.path} could not be removed: {error}", remedy="run the same command again"
            ) from error
        freed += each.size
    return freed


def _exports(config: Config) -> Iterator[Left]:
    for path in sorted(config.exports.glob(f"*/{MANIFEST_FILE}")):
        if path.parent.name.startswith("."):
            continue
        try:
            manifest = read_manifest(path.parent)
        except ReleaseError:
            continue
        shared = _shares(state_of(config, path.parent))
        yield Left(path=path.parent, what=EXPORT, manifest=manifest, shared=shared, size=_size(path.parent))


def _shares(state: Path) -> frozenset[str]:
    try:
        return frozenset(map(str, json.loads(state.read_text(encoding="utf-8"))["shared"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()  # of an earlier version, or not made here


def _archives(folder: Path) -> Iterator[Left]:
    for path in sorted(folder.glob("*.tar.gz")):
        if manifest := manifest_in(path):
            yield Left(path=path, what=ARCHIVE, manifest=manifest, size=path.stat().st_size)


def _shared(config: Config) -> Iterator[Left]:
    for path in shared_folders(config.state):
        yield Left(path=path, what=SHARED, size=_size(path))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _line(left: Left, said: Manifest) -> tuple[str, ...]:
    """What is the same of an export and the one that follows it."""
    return (left.what, said.format, said.quant or "", said.base_model, str(said.fields.get("dataset")))


def _newest(left: Sequence[Left], keep: int) -> set[Path]:
    lines: dict[tuple[str, ...], list[tuple[datetime, str, Path]]] = defaultdict(list)
    for each in left:
        if said := each.manifest:
            lines[_line(each, said)].append((said.exported, each.path.name, each.path))
    return {path for line in lines.values() for *_, path in sorted(line, reverse=True)[:keep]}


def _decided(left: Left, said: Manifest, keep: int | None, newest: set[Path], published: "_Published") -> Left:
    if left.path in newest:
        return replace(left, kept=f"of the newest {keep}")
    where = f"{said.repo_id}{f' at {said.tag}' if said.tag else ''}"
    is_there = published.has(said)
    if keep is not None:
        return replace(
            left, why=f"older than the newest {keep}; {'published as' if is_there else 'not published:'} {where}"
        )
    if not is_there:
        return replace(left, kept="not published")
    if left.what == EXPORT and (changed := _changed(left.path, said)):
        return replace(left, kept=changed)
    return replace(left, why=f"published as {where}")


def _decided_of_shared(left: Left, exports: Sequence[Left]) -> Left:
    """It is needed by the exports that were made from it, or have its files; where none is here, it may be of a release
    that was interrupted."""
    held = {sha256_of(path) for path in left.path.iterdir() if path.is_file()}
    made = [
        each
        for each in exports
        if left.path.name in each.shared or (each.manifest and held & {entry.sha256 for entry in each.manifest.files})
    ]
    if stays := next((each for each in made if each.kept), None):
        return replace(left, kept=f"{stays.path.name} was made from it")
    since = left.path.stat().st_mtime
    if not made and not any(each.path.stat().st_mtime >= since for each in exports):
        return replace(left, kept="no export was made since")
    return replace(left, why="no export that stays was made from it")


def _changed(folder: Path, said: Manifest) -> str | None:
    """What of an export is not as it was made: somebody may need it."""
    try:
        check_files(folder, said)
    except ReleaseError as error:
        return str(error).replace("\n", " ")
    return None


class _Published:
    """What repos have, each looked up once."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[tuple[str, str | None], frozenset[str]] = {}

    def has(self, manifest: Manifest) -> bool:
        """Whether a repo has every file that an export has, but for what describes it. The manifest there tells of
        small files, whose content the Hub names in git's way."""
        key = (manifest.repo_id, manifest.tag)
        if key not in self._known:
            self._known[key] = frozenset(self._digests(*key)) if self._hub.has_repos else frozenset()
        own = [entry.sha256 for entry in manifest.files if entry.path not in TELLING]
        return bool(own) and self._known[key].issuperset(own)

    def _digests(self, repo_id: str, tag: str | None) -> Iterator[str]:
        found = standing(self._hub, repo_id)
        if found is None:
            return
        revision = tags_of(self._hub, repo_id).get(tag) if tag else found.head
        if revision is None:
            return
        there: Mapping[str, object] = remote_files(self._hub, repo_id, revision)
        said = published_manifest(self._hub, repo_id, revision)
        for entry in said.files if said else ():
            item = there.get(entry.path)
            lfs = getattr(item, "lfs", None)
            if item is not None and (lfs is None or lfs.sha256 == entry.sha256):
                yield entry.sha256
