"""What of a release line is not released yet: commits, the model, policy and card.

Bumps, notes, the tag's message and the card are made of it.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from tagship.history.changes import LoggedChange
from tagship.history.conventional import is_known_type
from tagship.history.line import Line, changes_since, is_below, last_release, line_of, releases_before
from tagship.history.model import ModelChange, ModelState, changes
from tagship.history.model_lookup import Recorded, two_states
from tagship.naming.tags import Stream, VersionTag
from tagship.naming.version import is_prerelease
from tagship.policy.config import Config
from tagship.system.git import Repository
from tagship.system.git_objects import Commit


class Unreleased(Struct, frozen=True, kw_only=True):
    """A release line up to a commit.

    `releases` are its versions before that, highest first; `since` is the one that `changes`
    follow. `model` is what the model was at `since`, where that is known, and is now; None where
    there is no training run. `run_path` is the run's folder (POSIX, below the repository's top,
    where it is inside). `policy_files` are the changed files of the policy and of templates;
    `model_paths` is where runs, bases, policy and data are.
    """

    line: Line
    releases: tuple[VersionTag, ...]
    since: VersionTag | None
    changes: tuple[LoggedChange, ...]
    model: tuple[ModelState | None, ModelState] | None
    run_path: str
    policy_files: tuple[str, ...]
    model_paths: tuple[str, ...]

    @property
    def commits(self) -> int:
        """How many commits tell the changes: one that squashed others tells several."""
        return len({logged.commit.sha for logged in self.changes})

    @property
    def is_same_model(self) -> bool:
        """Whether the model is known to be that of the last release."""
        return self.model is not None and self.model[0] is not None and not any(self.model_changes())

    def concerns_model(self, logged: LoggedChange) -> bool:
        """Whether a change is one of run, base, policy or data; one that touches no file may be."""
        return not logged.commit.paths or any(is_below(path, self.model_paths) for path in logged.commit.paths)

    def unconventional(self) -> list[LoggedChange]:
        """The commits that follow no convention: each counts as a patch, since nobody said that it does not matter."""
        return [logged for logged in self.changes if logged.change.type is None and not logged.change.breaking]

    def unknown_types(self) -> dict[str, int]:
        """Types that nobody gave a meaning, so that they raise nothing, with how many changes are of each."""
        types = (logged.change.type for logged in self.changes if not is_known_type(logged.change))
        return dict(Counter(kind for kind in types if kind is not None))

    def model_changes(self) -> Iterator[ModelChange]:
        """What changed in the model that counts for this line."""
        if self.model and self.model[0]:
            for change in changes(self.model[0], self.model[1]):
                if not self.line.paths or self.line.counts(f"{self.run_path}/{change.file}"):
                    yield change


def gather(
    config: Config,
    repository: Repository,
    stream: Stream,
    commit: Commit,
    *,
    run: Path | None,
    version: str | None = None,
    recorded: Recorded = lambda release: None,
) -> Unreleased:
    """What the line of a stream has come to at a commit; where that is or will be a version, since the one below it.

    A prerelease follows the version before it, a final version the last final one. Raises
    ReleaseError when this clone does not have all of the history.
    """
    line = line_of(config, stream, repository)
    releases = releases_before(repository, line, commit, version)
    final = version is None or not is_prerelease(version)
    since = last_release(releases, final=final)
    return Unreleased(
        line=line,
        releases=tuple(releases),
        since=since,
        changes=tuple(changes_since(repository, line, since, commit.sha)),
        model=two_states(config, repository, since, commit.sha, run, recorded) if run else None,
        run_path=repository.below_top(run) if run else "",
        policy_files=_policy_files(config, repository, line, since, commit),
        model_paths=_model_paths(config, repository),
    )


def _model_paths(config: Config, repository: Repository) -> tuple[str, ...]:
    """Where what a model is made of and held against stands in the repository, as git writes it."""
    evaluate = config.evaluate
    asked = (evaluate.file, evaluate.scoring.schema) if evaluate else ()
    given = (config.verify.text, *asked, *(base.path for base in config.bases.values()))
    places = [
        *(config.runs.root, *config.policy_paths),
        *(config.root / path for path in config.versions.data),
        *(path for path in given if path is not None),
    ]
    return tuple("" if (below := repository.below_top(path)) == "." else below for path in places)


def _policy_files(
    config: Config, repository: Repository, line: Line, since: VersionTag | None, commit: Commit
) -> tuple[str, ...]:
    if since is None:
        return ()
    places = [repository.below_top(path) for path in config.policy_paths]
    return tuple(
        path
        for path in repository.changed_files(f"refs/tags/{since.name}", commit.sha)
        if line.counts(path) and any(path == place or path.startswith(f"{place}/") for place in places)
    )
