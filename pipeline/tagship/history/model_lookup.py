"""The models of two releases, found: in git where runs are committed, else on disk and in manifests."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath

import tomli
from msgspec.structs import replace

from tagship.artifacts.manifest import manifests_below
from tagship.history.model import ModelState, base_reference, read_state
from tagship.naming.tags import VersionTag
from tagship.policy.config import Config
from tagship.policy.file import policy_in
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.folder import DiskFolder, Folder, GitFolder
from tagship.runs.run import age, trained_at
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.known_digests import KnownDigests
from tagship.system.progress import Advance, silent
from tagship.weights.adapter_config import CONFIG_FILE

Recorded = Callable[[VersionTag], ModelState | None]


def disk_state(config: Config, run: Path, *, reads: bool = False, advance: Advance = silent) -> ModelState:
    """What a run on disk is made of, as manifests hold it. Digests that took long are remembered, unless it only
    `reads`. `advance` counts the bytes of a base that nobody has read yet."""
    folder = DiskFolder(path=run)
    base = _base(config, folder, config.bases)
    known = known_digests(config, reads=reads, advance=advance)
    of_base = DiskFolder(path=base.path, known=known) if base.path else None
    return read_state(run.name, folder, base, of_base)


def known_digests(config: Config, *, reads: bool = False, advance: Advance = silent) -> KnownDigests:
    """The digests of large files that commands of a project remember; `advance` counts bytes that are hashed."""
    return KnownDigests(config.state / "digests.json", reads=reads, advance=advance)


def two_states(
    config: Config,
    repository: Repository,
    last: VersionTag | None,
    until: str,
    run: Path,
    recorded: Recorded,
) -> tuple[ModelState | None, ModelState] | None:
    """The model at the last release and at a revision, to be compared with each other.

    `recorded` finds what a release's manifest says, where its run, or the weights of run or base, are not in git. The
    first is None where nothing tells what the last release was made of. None where the revision is not
    checked out and has no run in git: what is on disk may be another model.
    """
    now = _state_at(config, repository, until, run)
    if now is None and until != repository.head().sha:
        now = _newest_state_at(config, repository, until)
        if now is None:
            return None
    if last is None:
        return None, now or disk_state(config, run)
    before = _newest_state_at(config, repository, f"refs/tags/{last.name}") if now else None
    if not (now and before):
        return recorded(last), disk_state(config, run)
    on_disk = until == repository.head().sha
    lacks_weights = not all(_tells_weights(config, state) for state in (before, now))
    if on_disk and lacks_weights and (exported := recorded(last)):
        return exported, disk_state(config, run)
    return before, now  # git tells at least of configurations


def _tells_weights(config: Config, state: ModelState) -> bool:
    base = config.bases.get(state.base_model)
    return state.tells_weights(local_base=base is not None and base.path is not None)


def _state_at(config: Config, repository: Repository, revision: str, run: Path) -> ModelState | None:
    folder = GitFolder.at(repository, revision, run)
    if CONFIG_FILE not in folder.names():
        return None
    pinned = _revisions_at(config, repository, revision)
    bases = {name: replace(base, revision=pinned.get(name)) for name, base in config.bases.items()}
    model = _base(config, folder, bases)
    base = GitFolder.at(repository, revision, model.path) if model.path else None
    return read_state(run.name, folder, model, base if base and base.files else None)


def _newest_state_at(config: Config, repository: Repository, revision: str) -> ModelState | None:
    """Of the run that was the newest at a revision, by the date in its name, else the recorded one."""
    listed = [PurePosixPath(path) for path in GitFolder.at(repository, revision, config.runs.root).files]
    folders = [path.parent.as_posix() for path in listed if path.name == CONFIG_FILE]
    names = [name for name in folders if config.runs.fits(name)] if "." not in folders else ["."]

    def trained(name: str) -> datetime | None:
        return trained_at(name, GitFolder.at(repository, revision, config.runs.root / name), config.naming)

    newest = max(names, key=lambda name: age(name, trained(name)), default=None)
    return _state_at(config, repository, revision, config.runs.root / newest) if newest else None


def exported_state(config: Config, last: VersionTag) -> ModelState | None:
    """What an export of a release that is still here says of its model."""
    for manifest in manifests_below(config.exports):
        if manifest.tag == last.name and (state := ModelState.from_manifest(manifest.model)):
            return state
    return None


def _base(config: Config, folder: Folder, bases: Mapping[str, BaseModel]) -> BaseModel:
    """A run's base model. An unknown one is told when the run is released."""
    reference, revision = base_reference(folder)
    try:
        return resolve_base(reference, revision, bases, config.root)
    except ReleaseError:
        return BaseModel(id=reference, revision=revision)


def _revisions_at(config: Config, repository: Repository, revision: str) -> dict[str, str]:
    """`[bases."id"] revision` by id, as the policy said it at a revision; none where it could not be read then."""
    try:
        document = tomli.loads((repository.file_at(revision, config.file) or b"").decode())
        bases = policy_in(document, config.file).get("bases", {})
        return {name: base["revision"] for name, base in bases.items() if "revision" in base}
    except (ValueError, TypeError, AttributeError):
        return {}
