"""Tags and the versions they carry (the guide, "Version Extraction Logic")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import semver

from tagship.naming.fields import is_semver
from tagship.naming.name_rules import GIT
from tagship.naming.pattern import Pattern
from tagship.system.toml_reader import Reader

EXPORT, PUBLISH = "export", "publish"
ACTIONS = (EXPORT, PUBLISH)

_STREAMS = {
    "semantic": ("v{version}", (EXPORT, PUBLISH)),
    "model": ("model-v{version}", (EXPORT, PUBLISH)),
    "export": ("export-v{version}", (EXPORT,)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionTag:
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
    tags.sort(key=lambda tag: semver.Version.parse(tag.version), reverse=True)
    return sorted(tags, key=lambda tag: [stream is tag.stream for stream in streams].index(True))


def read_streams(tags: Reader) -> tuple[Stream, ...]:
    """`[tags]`, in the order of their priority; the guide's three where the table is empty."""
    if not tags.keys():
        return tuple(
            Stream(name=name, pattern=Pattern(pattern), does=does) for name, (pattern, does) in _STREAMS.items()
        )
    return tuple(_stream(name, table) for name, table in tags.tables())


def read_format_stream(table: Reader, form: str) -> Stream | None:
    """A format's own stream, `[formats.X] stream`, or None where it has none."""
    if not table.has("stream"):
        return None
    pattern = _tag_pattern(table, "stream", f"{form}-v{{version}}")
    return Stream(name=form, pattern=pattern, does=ACTIONS, format=form)


def _stream(name: str, table: Reader) -> Stream:
    default, does = _STREAMS.get(name, ("v{version}", ACTIONS))
    if name not in _STREAMS and not table.has("pattern"):
        table.note("pattern", f'is missing: the tags of this stream, such as "{name}-v{{version}}"')
    stream = Stream(
        name=name,
        pattern=_tag_pattern(table, "pattern", default),
        does=table.choices("does", does, ACTIONS),
    )
    if EXPORT not in stream.does:
        table.note("does", f"must name {EXPORT!r}: there is nothing to publish without it")
    table.close()
    return stream


def _tag_pattern(table: Reader, key: str, default: str) -> Pattern:
    pattern = table.parsed(key, default, Pattern)
    if pattern.fields != {"version"}:
        table.note(key, "must have {version} and no other field")
    elif problem := GIT.complaint(pattern.format({"version": "1.0.0"}), "tag"):
        table.note(key, f"makes no tags: {problem}")
    else:
        return pattern
    return Pattern(default)
