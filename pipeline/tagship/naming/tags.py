"""Tags and the versions they carry (the guide, "Version Extraction Logic")."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from tagship.naming.pattern import Pattern
from tagship.naming.version import is_semver, precedence

EXPORT, PUBLISH = "export", "publish"
ACTIONS = (EXPORT, PUBLISH)


class Stream(Struct, frozen=True, kw_only=True):
    """A family of version tags: its pattern holds `{version}`, `does` is what its tags trigger.

    `format` is the one format that it versions, or None for a stream of `[tags]`, which is of all
    formats that have no stream of their own.
    """

    name: str
    pattern: Pattern
    does: tuple[str, ...]
    format: str | None = None

    def version_of(self, tag: str) -> str | None:
        """The SemVer version that `tag` carries in this stream, or None if it is not of it."""
        # As `pattern.parse` does, at a fraction of its time: a repository may have very many tags.
        before, _, after = self.pattern.text.partition("{version}")
        if not (tag.startswith(before) and tag.endswith(after)):
            return None
        version = tag[len(before) : len(tag) - len(after)]
        return version if is_semver(version) else None

    def tag_of(self, version: str) -> str:
        """The tag of this stream that carries a version."""
        return self.pattern.format({"version": version})


class VersionTag(Struct, frozen=True, kw_only=True):
    """A tag with the version it carries; `stream` is None for "other tags", which do nothing."""

    name: str
    version: str
    stream: Stream | None

    @property
    def does(self) -> tuple[str, ...]:
        return self.stream.does if self.stream else ()


def read_tag(name: str, streams: Sequence[Stream]) -> VersionTag:
    """The version of a tag: the first stream that matches, else its full name as the version."""
    for stream in streams:
        if version := stream.version_of(name):
            return VersionTag(name=name, version=version, stream=stream)
    return VersionTag(name=name, version=name, stream=None)


def version_tags(names: Iterable[str], streams: Sequence[Stream]) -> list[VersionTag]:
    """Those tags that are of a stream: by the order of the streams, then the highest version first."""
    tags = [tag for tag in (read_tag(name, streams) for name in names) if tag.stream]
    tags.sort(key=lambda tag: precedence(tag.version), reverse=True)
    return sorted(tags, key=lambda tag: [stream is tag.stream for stream in streams].index(True))
