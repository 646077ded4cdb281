"""What a version tag has to satisfy, each check by its name (the guide, "Tagging Workflow").

`[checks]` in release.toml says which are required, only warned of, or off.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec import Struct

from tagship.history.changelog import entry
from tagship.history.line import Line, line_of, releases_before
from tagship.naming.tags import VersionTag
from tagship.naming.version import is_prerelease, precedence
from tagship.policy.config import Config
from tagship.policy.versions import OFF, REQUIRED
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git import Repository
from tagship.system.git_objects import Commit, Tag


class Tagging(Struct, frozen=True, kw_only=True):
    """A version tag to be checked: the commit that it is or will be on; `tag` where it is there already."""

    config: Config
    repository: Repository
    version_tag: VersionTag
    commit: Commit
    tag: Tag | None = None

    @property
    def line(self) -> Line:
        assert self.version_tag.stream is not None
        return line_of(self.config, self.version_tag.stream, self.repository)

    @property
    def remote(self) -> str:
        return self.config.versions.remote


class Outcome(Struct, frozen=True, kw_only=True):
    """What a check found: `problem` is None where all is well; `level` is `required` or `warn`."""

    name: str
    level: str
    problem: str | None
    remedy: str | None


_Found = tuple[str, str] | None
# Seconds that the remote gets for its answer: where the release depends on it, and where it is only told.
_LONG, _SHORT = 30, 8


def run_checks(tagging: Tagging) -> Iterator[Outcome]:
    """Every check that is not off, on a tag that is there or before it is made."""
    policy = tagging.config.checks
    for name, (check, of_made_tags) in _CHECKS.items():
        level = policy.when_tagging(name) if tagging.tag is None else policy.when_releasing(name)
        if level == OFF or (of_made_tags and tagging.tag is None):
            continue
        problem, remedy = check(tagging) or (None, None)
        yield Outcome(name=name, level=level, problem=problem, remedy=remedy)


def refuse(outcomes: list[Outcome], tag: str) -> None:
    """Raise ReleaseError that names every required check that found a problem."""
    failed = [outcome for outcome in outcomes if outcome.problem and outcome.level == REQUIRED]
    if failed:
        listed = "".join(f"\n  {outcome.name}: {outcome.problem} ({outcome.remedy})" for outcome in failed)
        raise ReleaseError(
            f"{tag} does not pass {len(failed)} {'check' if len(failed) == 1 else 'checks'}:{listed}",
            remedy="mend it, or say warn or off for that check in [checks] of release.toml",
        )


def _clean(tagging: Tagging) -> _Found:
    changed = tagging.repository.changed_paths(tagging.config.own_folders)
    if not changed:
        return None
    listed = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    return (
        f"the working tree is not what {tagging.version_tag.name} tags: {listed}",
        f"{_stash(tagging)}, or commit and tag that",
    )


def _stash(tagging: Tagging) -> str:
    """The command that puts changes aside, and not what releases write, the embedded Hub among it, where git does not
    ignore that."""
    repository = tagging.repository
    own = [repository.below_top(folder) for folder in tagging.config.own_folders if folder.exists()]
    there = [entry.rstrip("/") for entry in repository.changed_paths()]
    seen = [name for name in own if any(entry == name or name.startswith(f"{entry}/") for entry in there)]
    excluded = "".join(f" ':(top,literal,exclude){name}'" for name in seen)
    return "git stash --include-untracked" + (f" -- ':/'{excluded}" if seen else "")


def _branch(tagging: Tagging) -> _Found:
    named = tagging.config.versions.branch
    branch = tagging.repository.branch_of_releases(named, tagging.remote)
    if branch is None:
        wanted = repr(named) if named else "main or master"
        return f"there is no branch {wanted} to release from", "name the release branch in [versions] branch"
    if tagging.repository.is_on_branch(tagging.commit, branch, tagging.remote):
        return None
    return f"{tagging.commit.sha[:10]} is not on the release branch {branch}", f"merge it into {branch} first"


def _changelog(tagging: Tagging) -> _Found:
    path = tagging.line.changelog
    tag = tagging.version_tag
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        return f"{path.name} cannot be read: {error}", "mend the file"
    # What a prerelease brings is not released yet.
    prerelease = is_prerelease(tag.version)
    if entry(text, tag.name) or entry(text, tag.version) or (prerelease and entry(text, "Unreleased")):
        return None
    return (
        f"{path.name} has no entry for {tag.version}",
        f"{called()} notes --tag {tag.name} --write, and commit it",
    )


def _order(tagging: Tagging) -> _Found:
    tag = tagging.version_tag
    releases = [
        other for other in releases_before(tagging.repository, tagging.line, tagging.commit) if other.name != tag.name
    ]
    if not releases or precedence(tag.version) > precedence(releases[0].version):
        return None
    assert tag.stream is not None
    return (
        f"{tag.version} is not greater than {releases[0].version}, the last version of the stream {tag.stream.name}",
        f"{called()} bump --stream {tag.stream.name} says which one is next",
    )


def _annotated(tagging: Tagging) -> _Found:
    if tagging.tag is None or tagging.tag.annotated:
        return None
    name = tagging.tag.name
    with suppress(ToolError):  # a checkout for CI has of an annotated tag only the commit
        if tagging.repository.remote_url(tagging.remote) and tagging.repository.annotation_on(tagging.remote, name):
            return None
    return (
        f"{name} is a lightweight tag: it says neither who made it nor why",
        f'git tag --force "{name}" "{name}^{{}}" -m "Release {name}: …"',
    )


def _pushed(tagging: Tagging) -> _Found:
    name, remote = tagging.version_tag.name, tagging.remote
    if tagging.repository.remote_url(remote) is None:
        return None
    seconds = _LONG if tagging.config.checks.when_releasing("pushed") == REQUIRED else _SHORT
    try:
        on_remote = tagging.repository.remote_tags(remote, seconds=seconds).get(name)
    except ToolError as error:
        return f"{remote} did not say whether it has {name}: {error}", f"git push {remote} {name}"
    if on_remote is None:
        return f"{name} is not on {remote}, so nobody else can see what was released", f"git push {remote} {name}"
    here = tagging.repository.tagged_commit(name)
    if on_remote.commit != here:
        moved = f"{name} is on {here[:10]} here, and on {on_remote.commit[:10]} on {remote}: one of them was moved"
        return moved, f"git fetch {remote} --tags --force, where {remote} is right; never move a version"
    own = tagging.repository.tag_hash(name)
    if own not in (on_remote.sha, here):  # a checkout for CI has of an annotated tag only the commit
        return f"{remote} has another tag {name} on that commit", f"git fetch {remote} --tags --force"
    return None


# Each check, and whether it is of tags that are made already.
_CHECKS: dict[str, tuple[Callable[[Tagging], _Found], bool]] = {
    "clean": (_clean, False),
    "branch": (_branch, False),
    "changelog": (_changelog, False),
    "order": (_order, False),
    "annotated": (_annotated, True),
    "pushed": (_pushed, True),
}
