"""The next version of a stream, and what decided it.

Commits say how much they change (Conventional Commits), and the model says how much it changed;
the larger of the two decides. SemVer 2.0, item 4: before 1.0.0 anything may change, so that what
would be a major change raises the minor version there.
"""

import re
from collections.abc import Iterable, Sequence

import semver
from msgspec import Struct

from tagship.history.changes import LoggedChange
from tagship.history.conventional import Part, part_of
from tagship.history.model import ModelChange
from tagship.history.unreleased import Unreleased
from tagship.naming.tags import Stream, VersionTag
from tagship.naming.version import is_prerelease, is_semver, precedence
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError


class Reason(Struct, frozen=True, kw_only=True):
    """Something that asks for a part of the version to be raised: a commit, or a file that changed."""

    part: Part
    what: str
    commit: str | None = None
    file: str | None = None


class Bump(Struct, frozen=True, kw_only=True):
    """The next version of a stream. `last` is the release that it follows; `reasons` are those of
    the part that is raised, the others left out. A first version raises none. `skipped` are the versions that came
    before it and are taken."""

    stream: Stream
    last: VersionTag | None
    part: Part
    version: str
    reasons: tuple[Reason, ...]
    skipped: tuple[VersionTag, ...] = ()

    @property
    def tag(self) -> str:
        return self.stream.tag_of(self.version)


def reasons(changes: Iterable[LoggedChange], model: Iterable[ModelChange], files: Iterable[str]) -> list[Reason]:
    """What asks for a new version; `files` are those of the card and the policy that changed."""
    found = [
        Reason(part=part_of(logged.change), what=logged.change.subject, commit=logged.commit.sha) for logged in changes
    ]
    found += [Reason(part=change.part, what=change.what, file=change.file) for change in model]
    found += [Reason(part=Part.PATCH, what="the card or the policy changed", file=file) for file in files]
    return [reason for reason in found if reason.part]


def next_version(
    unreleased: Unreleased,
    *,
    first: str,
    part: Part | None = None,
    prerelease: str | None = None,
    taken: Sequence[VersionTag] = (),
) -> Bump:
    """The version that follows what a line has come to; see `decide`."""
    found = reasons(unreleased.changes, unreleased.model_changes(), unreleased.policy_files)
    stream = unreleased.line.stream
    return decide(stream, unreleased.releases, found, first=first, part=part, prerelease=prerelease, taken=taken)


def decide(
    stream: Stream,
    releases: Sequence[VersionTag],
    found: Sequence[Reason],
    *,
    first: str,
    part: Part | None = None,
    prerelease: str | None = None,
    taken: Sequence[VersionTag] = (),
) -> Bump:
    """The version after `releases` (highest first) for the reasons that were found since the last final one.

    `part` overrides the reasons; `prerelease` is a label such as `rc`. The version is greater than all releases, and
    none of `taken`, which are tags of the stream elsewhere. Raises ReleaseError when nothing asks for a version,
    UsageError for a label that cannot be one, or that comes before what is out.
    """
    last = next((tag for tag in releases if not is_prerelease(tag.version)), None)
    raised = part or max((reason.part for reason in found), default=Part.NONE)
    if last and not raised:
        patch, _ = _free(_next(last.version, Part.PATCH), Part.PATCH, taken)
        raise ReleaseError(
            f"nothing since {last.name} asks for a new version",
            remedy=f"give one with --part patch, or by name: {called()} tag " + stream.tag_of(patch),
        )
    version = _next(last.version, raised, forced=part is not None) if last else first
    version = _after_prereleases(version, releases)
    version, skipped = _free(version, raised if last else Part.MINOR, taken)
    if prerelease:
        version = _prerelease(version, releases, taken, prerelease)
    deciding = tuple(reason for reason in found if reason.part == raised) if last and part is None else ()
    return Bump(
        stream=stream,
        last=last,
        part=raised if last else Part.NONE,
        version=version,
        reasons=deciding,
        skipped=skipped,
    )


def _free(version: str, part: Part, taken: Sequence[VersionTag]) -> tuple[str, tuple[VersionTag, ...]]:
    """The first version from one on, by raising the same part, that is not taken, and those that are."""
    by_precedence = {precedence(tag.version): tag for tag in taken}  # which build metadata has no part in
    skipped = []
    while (tag := by_precedence.get(precedence(version))) is not None:
        skipped.append(tag)
        found = semver.Version.parse(version)
        version = str(found.bump_prerelease()) if found.prerelease else _next(version, part)
    return version, tuple(skipped)


def _next(last: str, part: Part, *, forced: bool = False) -> str:
    version = semver.Version.parse(last)
    if version.major == 0 and part == Part.MAJOR and not forced:
        part = Part.MINOR
    return str({Part.MAJOR: version.bump_major, Part.MINOR: version.bump_minor}.get(part, version.bump_patch)())


def _after_prereleases(version: str, releases: Sequence[VersionTag]) -> str:
    """Where a prerelease of a version that is as high is out, that version is the one to be finished."""
    highest = max((tag.version for tag in releases), key=precedence, default=None)
    if highest is None or precedence(version) > precedence(highest):
        return version
    return str(semver.Version.parse(highest).finalize_version())


def _prerelease(version: str, releases: Sequence[VersionTag], taken: Sequence[VersionTag], label: str) -> str:
    version = str(semver.Version.parse(version).finalize_version())
    out = [semver.Version.parse(tag.version) for tag in (*releases, *taken)]
    numbers = [
        int(parts[1])
        for found in out
        if str(found.finalize_version()) == version and found.prerelease
        if len(parts := found.prerelease.split(".")) == 2 and parts[0] == label and parts[1].isdecimal()
    ]
    made = f"{version}-{label}.{max(numbers, default=0) + 1}"
    if not is_semver(made) or not re.fullmatch("[0-9A-Za-z-]+", label):
        raise UsageError(f"{label!r} cannot be the label of a prerelease", remedy="use letters, such as rc or beta")
    highest = max((tag.version for tag in releases), key=precedence, default=None)
    if highest is not None and precedence(highest) >= precedence(made):
        raise UsageError(f"{made} is not greater than {highest}, which is out", remedy="use a later label than that")
    return made
