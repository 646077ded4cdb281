"""`[tags]`, and `stream` of a format: the families of version tags, and what each triggers."""

from tagship.naming.name_rules import GIT
from tagship.naming.pattern import Pattern
from tagship.naming.tags import ACTIONS, EXPORT, PUBLISH, Stream
from tagship.system.toml_reader import Reader

_STREAMS = {
    "semantic": ("v{version}", (EXPORT, PUBLISH)),
    "model": ("model-v{version}", (EXPORT, PUBLISH)),
    "export": ("export-v{version}", (EXPORT,)),
}


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
