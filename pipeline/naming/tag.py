"""Tags and the versions they carry (the guide, "Version Extraction Logic")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import semver

from pipeline.naming.pattern import Pattern

EXPORT, PUBLISH = "export", "publish"
ACTIONS = (EXPORT, PUBLISH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A family of version tags: its pattern holds `{version}`, `does` is what its tags trigger."""

    name: str
    pattern: Pattern
    does: tuple[str, ...]

    def version_of(self, tag: str) -> str | None:
        """The SemVer version that `tag` carries in this stream, or None if it is not of it."""
        fields = self.pattern.parse(tag)
        version = str(fields["version"]) if fields else ""
        return version if semver.Version.is_valid(version) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTag:
    """A tag with the version it carries; `stream` is None for "other tags", which do nothing."""

    name: str
    version: str
    stream: str | None
    does: tuple[str, ...]


def read_tag(name: str, streams: Sequence[Stream]) -> VersionTag:
    """The version of a tag: the first stream that matches, else its full name as the version."""
    for stream in streams:
        if version := stream.version_of(name):
            return VersionTag(name=name, version=version, stream=stream.name, does=stream.does)
    return VersionTag(name=name, version=name, stream=None, does=())


def first_version_tag(names: Iterable[str], streams: Sequence[Stream]) -> VersionTag | None:
    """Of the tags on one commit the one that decides: by the order of the streams, then the highest version."""
    tags = [tag for tag in (read_tag(name, streams) for name in names) if tag.stream]
    if not tags:
        return None
    order = [stream.name for stream in streams]
    priority = min(order.index(tag.stream) for tag in tags if tag.stream)
    return max(
        (tag for tag in tags if tag.stream == order[priority]),
        key=lambda tag: semver.Version.parse(tag.version),
    )
