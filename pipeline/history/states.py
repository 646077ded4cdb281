"""The models of two releases, found: in git where runs are committed, else on disk and in manifests."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artifacts.manifest import MANIFEST_FILE, read_manifest
from pipeline.config import Config
from pipeline.errors import ReleaseError
from pipeline.git import Repository
from pipeline.history.model import (
    DiskFolder,
    GitFolder,
    ModelState,
    base_reference,
    read_state,
    recorded_date,
)
from pipeline.naming.tag import VersionTag
from pipeline.runs.base import resolve_base
from pipeline.weights.lora import CONFIG_FILE

Recorded = Callable[[VersionTag], ModelState | None]


def disk_state(config: Config, run: Path) -> ModelState:
    """What a run on disk is made of, as manifests hold it."""
    folder = DiskFolder(path=run)
    base_id, base_path = _base(config, base_reference(folder))
    return read_state(run.name, folder, base_id, DiskFolder(path=base_path) if base_path else None)


def two_states(
    config: Config,
    repository: Repository,
    last: VersionTag | None,
    until: str,
    run: Path,
    recorded: Recorded,
) -> tuple[ModelState | None, ModelState]:
    """The model at the last release and at a revision, to be compared with each other.

    `recorded` finds what a release's manifest says, where its run is not in git. The first is
    None where nothing tells what the last release was made of.
    """
    now = _state_at(config, repository, until, run)
    if last is None:
        return None, now or disk_state(config, run)
    if now:
        released = f"refs/tags/{last.name}"
        before_run = _newest_at(config, repository, released)
        if before := before_run and _state_at(config, repository, released, before_run):
            return before, now
    return recorded(last), disk_state(config, run)


def _state_at(config: Config, repository: Repository, revision: str, run: Path) -> ModelState | None:
    folder = GitFolder.at(repository, revision, run)
    if CONFIG_FILE not in folder.names():
        return None
    base_id, base_path = _base(config, base_reference(folder))
    base = GitFolder.at(repository, revision, base_path) if base_path else None
    return read_state(run.name, folder, base_id, base if base and base.files else None)


def _newest_at(config: Config, repository: Repository, revision: str) -> Path | None:
    """The run that was the newest at a revision, by the date in its name, else the recorded one."""
    listed = GitFolder.at(repository, revision, config.runs).files
    names = {path.split("/")[0] for path in listed if path.count("/") == 1 and path.endswith(f"/{CONFIG_FILE}")}
    runs = [config.runs / name for name in names]
    return max(runs, key=lambda run: _age(config, repository, revision, run), default=None)


def _age(config: Config, repository: Repository, revision: str, run: Path) -> tuple[datetime, str]:
    trained = (config.naming.run.parse(run.name) or {}).get("trained")
    if not isinstance(trained, datetime):
        trained = recorded_date(GitFolder.at(repository, revision, run))
    return trained or datetime.min.replace(tzinfo=UTC), run.name


def exported_state(config: Config, last: VersionTag) -> ModelState | None:
    """What an export of a release that is still here says of its model."""
    for path in sorted(config.exports.glob(f"*/{MANIFEST_FILE}")):
        try:
            manifest = read_manifest(path.parent)
        except ReleaseError:  # an export that was damaged says nothing
            continue
        if manifest.tag == last.name and manifest.model:
            return ModelState(**manifest.model)
    return None


def _base(config: Config, reference: str) -> tuple[str, Path | None]:
    """A base model's id and, where it is at hand, its folder. An unknown one is told when the run is released."""
    try:
        base = resolve_base(reference, None, config.bases, config.root)
    except ReleaseError:
        return reference, None
    return base.id, base.path
