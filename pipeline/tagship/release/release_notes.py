"""What release notes are made of beyond the history: the model that an earlier release recorded, and archives here."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime

from tagship.artifacts.archive import read_checksums
from tagship.history.model import ModelState
from tagship.history.model_lookup import Recorded, exported_state
from tagship.history.notes import Artifact
from tagship.history.unreleased import Unreleased, gather
from tagship.hub.connection import Hub
from tagship.hub.released import released_tags
from tagship.hub.repository import published_manifest
from tagship.naming.tags import VersionTag
from tagship.policy.config import Config
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository


def unreleased_in(plan: Plan, repository: Repository) -> Unreleased:
    """What a tagged plan's release line has come to, of git alone: the same tag gives the same notes in its card,
    wherever it is released from. Raises ReleaseError when this clone does not have all of the history."""
    assert plan.stream is not None
    return gather(plan.config, repository, plan.stream, plan.commit, run=plan.run.path, version=plan.version)


def recorded_states(
    config: Config, open_hub: Callable[[], AbstractContextManager[Hub]], say: Callable[[str], object]
) -> Recorded:
    """Finds what the manifest of a release says of its model: in its exports, else on the Hub; `say` is told of a Hub
    that does not answer."""

    def recorded(release: VersionTag) -> ModelState | None:
        if found := exported_state(config, release):
            return found
        with open_hub() as hub:
            if not hub.has_repos:
                return None
            try:
                return _published_state(config, hub, release)
            except ReleaseError as error:
                say(str(error))
                return None

    return recorded


def archives_of(
    config: Config, repository: Repository, tag: VersionTag, run: str | None, now: datetime
) -> list[Artifact]:
    """The archives of a release that are here, with their recorded checksums."""
    with suppress(ReleaseError):  # the tag, or its run, is not here: then there are no archives of it either
        plan = make_plan(config, Options(tag=tag.name, run=run), repository, now)
        sums = read_checksums(config.artifacts)
        paths = [target.artifact for target in plan.targets]
        return [
            Artifact(name=path.name, size=path.stat().st_size, sha256=sums[path.name])
            for path in paths
            if path.is_file() and path.name in sums
        ]
    return []


def _published_state(config: Config, hub: Hub, release: VersionTag) -> ModelState | None:
    for repo_id in released_tags(hub, config).get(release.name, ()):
        manifest = published_manifest(hub, repo_id, release.name)
        if manifest and (state := ModelState.from_manifest(manifest.model)):
            return state
    return None
