"""A release line: the versions of one stream, and which commits and files count for them.

Formats that have versions of their own (`[formats.X] stream`) leave the line of all others, and
nothing of one line leaks into another: a commit whose scopes only name formats of other lines, or
that only touches their files, counts for those alone. The runs, their bases and the policy are of
all lines.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from posixpath import join, normpath

from msgspec import Struct

from tagship.history.changes import LoggedChange, told
from tagship.naming.tags import Stream, VersionTag, version_tags
from tagship.naming.version import is_prerelease, precedence
from tagship.policy.config import Config
from tagship.policy.formats import FormatPolicy
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository
from tagship.system.git_objects import Commit
from tagship.system.toml_reader import hint


class Line(Struct, frozen=True, kw_only=True):
    """The versions of a stream. All paths are POSIX, below the repository's top.

    `paths` are those that the policy says count; where it says none, all of `project` (empty for
    the whole repository) but `foreign`. `others` are the formats of other lines, `aliases` other words
    for the types of commits.
    """

    stream: Stream
    project: str
    paths: tuple[str, ...]
    others: frozenset[str]
    foreign: tuple[str, ...]
    changelog: Path
    aliases: Mapping[str, str]

    def counts(self, path: str) -> bool:
        """Whether a change to a file is a change of this line's versions."""
        if self.paths:
            return is_below(path, self.paths)
        return is_below(path, (self.project,)) and not is_below(path, self.foreign)

    def has(self, logged: LoggedChange) -> bool:
        """Whether a commit is of this line."""
        scopes, touched = {scope.lower() for scope in logged.change.scopes}, logged.commit.paths
        own = {self.stream.format} if self.stream.format else scopes - self.others
        if scopes & self.others and not scopes & own:
            return False
        return any(map(self.counts, touched)) or not (touched or self.paths or self.project)


def line_of(config: Config, stream: Stream, repository: Repository) -> Line:
    """The release line of a stream."""
    policy = next((policy for policy in config.formats if policy.name == stream.format), None)
    others = [other for other in config.formats if other != policy and (other.stream or policy)]
    top = _joined("", repository.below_top(config.root))
    shared = [repository.below_top(path) for path in _shared_paths(config)]
    foreign = [place for other in others for place in _own_paths(other, top, shared)]
    return Line(
        stream=stream,
        project=top,
        paths=tuple(_joined(top, path) for path in policy.paths) if policy else (),
        others=frozenset(other.name for other in others),
        foreign=(*foreign, *((_joined(top, config.versions.changelog),) if policy else ())),
        changelog=config.root / (policy.changelog if policy else config.versions.changelog),
        aliases=config.versions.aliases,
    )


def choose_stream(config: Config, name: str | None) -> Stream:
    """The stream of that name, else the first. Raises UsageError."""
    if name is None:
        return config.streams[0]
    found = next((stream for stream in config.streams if stream.name == name), None)
    if found is None:
        raise UsageError(f"there is no stream {name!r}{hint(name, [stream.name for stream in config.streams])}")
    return found


def releases_before(repository: Repository, line: Line, at: Commit, version: str | None = None) -> list[VersionTag]:
    """The line's version tags that a commit was made from, the highest version first; where a
    version is given, those below it."""
    tags = version_tags(repository.tags_before(at), [line.stream])
    if version is None:
        return tags
    limit = precedence(version)
    return [tag for tag in tags if precedence(tag.version) < limit]


def last_release(tags: Sequence[VersionTag], *, final: bool) -> VersionTag | None:
    """The highest version; where `final`, of those that are no prerelease."""
    return next((tag for tag in tags if not (final and is_prerelease(tag.version))), None)


def changes_since(repository: Repository, line: Line, since: VersionTag | None, until: str) -> list[LoggedChange]:
    """The changes of the line's commits from a release to a revision, newest first, without what was reverted.

    Raises ReleaseError when this clone does not have all of them.
    """
    start = f"refs/tags/{since.name}" if since else None
    if repository.missing_history(start, until):
        raise ReleaseError(
            "this clone is shallow: commits since the last release are not in it, so that neither notes nor a "
            "version can be made",
            remedy="git fetch --unshallow --tags (in GitHub Actions: actions/checkout with fetch-depth: 0)",
        )
    by_path = bool(line.paths or line.project or line.others)
    changes = told(repository.log(start, until, with_paths=True), line.aliases)
    return [change for change in changes if not by_path or line.has(change)]


def _shared_paths(config: Config) -> list[Path]:
    """What all formats are made of, though a format may count it among its own paths."""
    places = [config.runs.root, *(base.path for base in config.bases.values() if base.path)]
    return [config.file, *(place for place in places if place != config.root)]


def _own_paths(policy: FormatPolicy, top: str, shared: Sequence[str]) -> list[str]:
    templates = (f"templates/{policy.name}", f"templates/cards/{policy.name}.md.j2")
    paths = [_joined(top, path) for path in policy.paths]
    own = [path for path in paths if not any(is_below(path, (it,)) or is_below(it, (path,)) for it in shared)]
    return own + [_joined(top, path) for path in (policy.changelog, *templates)]


def _joined(top: str, path: str) -> str:
    """A path of the policy, below the repository's top; empty for the top itself."""
    joined = normpath(join(top, path))
    return "" if joined == "." else joined


def is_below(path: str, places: Iterable[str]) -> bool:
    """As git's pathspecs: a file, everything in a folder, or a pattern whose `*` matches `/` too."""
    return any(
        not place or path == place or path.startswith(f"{place}/") or fnmatchcase(path, place) for place in places
    )
