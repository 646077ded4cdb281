"""What a release has left on this disk and nobody needs: exports and archives that are published, or that newer ones of
the same model and format have followed."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagship.artifacts.archive import drop_checksum, manifest_in
from tagship.artifacts.manifest import MANIFEST_FILE, TELLING, Manifest, check_files, read_manifest
from tagship.hub.connection import Hub
from tagship.hub.repository import published_manifest, remote_files, standing, tags_of
from tagship.policy.config import Config
from tagship.system.errors import ReleaseError

EXPORT, ARCHIVE = "export", "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An export or an archive that is here, with what it says of itself; `why` it goes, or why it is `kept`."""

    path: Path
    what: str
    manifest: Manifest
    size: int
    why: str | None = None
    kept: str | None = None


def find_left(config: Config) -> list[Left]:
    """The exports and archives that tagship made, as far as they say what they are."""
    return [*_exports(config.exports), *_archives(config.artifacts)]


def decide(hub: Hub, left: Sequence[Left], keep: int | None) -> list[Left]:
    """Say of each whether it is removed, and why.

    Without `keep` those are removed that the Hub has, with every file as it is here. With it the newest so many of each
    model, format and quantization type stay, and all others go. Raises ToolError when the Hub does not answer.
    """
    published = _Published(hub)
    newest = _newest(left, keep) if keep is not None else set()
    return [_decided(each, keep, newest, published) for each in left]


def remove(config: Config, left: Iterable[Left]) -> int:
    """Remove what is to be removed, each as a whole. Returns the bytes that were freed. Raises ReleaseError."""
    freed = 0
    for each in left:
        if each.why is None:
            continue
        try:
            if each.what == EXPORT:
                (config.state / "exports" / f"{each.path.name}.json").unlink(missing_ok=True)
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


def _exports(folder: Path) -> Iterator[Left]:
    for path in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
        if path.parent.name.startswith("."):
            continue
        try:
            manifest = read_manifest(path.parent)
        except ReleaseError:
            continue
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        yield Left(path=path.parent, what=EXPORT, manifest=manifest, size=size)


def _archives(folder: Path) -> Iterator[Left]:
    for path in sorted(folder.glob("*.tar.gz")):
        if manifest := manifest_in(path):
            yield Left(path=path, what=ARCHIVE, manifest=manifest, size=path.stat().st_size)


def _line(left: Left) -> tuple[str, ...]:
    """What is the same of an export and the one that follows it."""
    said = left.manifest
    return (left.what, said.format, said.quant or "", said.base_model, str(said.fields.get("dataset")))


def _newest(left: Sequence[Left], keep: int) -> set[Path]:
    lines: dict[tuple[str, ...], list[Left]] = defaultdict(list)
    for each in left:
        lines[_line(each)].append(each)
    return {
        each.path
        for line in lines.values()
        for each in sorted(line, key=lambda one: (one.manifest.exported, one.path.name), reverse=True)[:keep]
    }


def _decided(left: Left, keep: int | None, newest: set[Path], published: "_Published") -> Left:
    if left.path in newest:
        return replace(left, kept=f"of the newest {keep}")
    where = f"{left.manifest.repo_id}{f' at {left.manifest.tag}' if left.manifest.tag else ''}"
    is_there = published.has(left.manifest)
    if keep is not None:
        return replace(
            left, why=f"older than the newest {keep}; {'published as' if is_there else 'not published:'} {where}"
        )
    if not is_there:
        return replace(left, kept="not published")
    if left.what == EXPORT and (changed := _changed(left)):
        return replace(left, kept=changed)
    return replace(left, why=f"published as {where}")


def _changed(left: Left) -> str | None:
    """What of an export is not as it was made: somebody may need it."""
    try:
        check_files(left.path, left.manifest)
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
