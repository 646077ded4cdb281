"""`[formats.X]`: each format that is released, with its own settings and its names."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats import registry
from tagship.formats.protocol import Format
from tagship.naming.names import Names, NamingPolicy
from tagship.naming.tags import Stream
from tagship.naming.variant import Variant
from tagship.policy.naming import read_names
from tagship.policy.tags import read_format_stream
from tagship.system.toml_reader import Reader, hint


class FormatPolicy(Struct, frozen=True, kw_only=True):
    """A `[formats.X]` table: the format by its name, its own settings, and its names.

    `variants` are all that the format could export; `together` is whether those of a release go into one repo.
    `stream` is its own version tags, if it has any; of those, `paths` limits which changes count, and `changelog` is
    their file.
    """

    name: str
    settings: Any
    names: Names
    variants: tuple[Variant, ...]
    stream: Stream | None
    paths: tuple[str, ...]
    changelog: str
    together: bool = False

    @property
    def shared(self) -> Variant | None:
        """What of names a repo has that all variants of a release share; None where each has its own."""
        return self.format.shared if self.together else None

    @property
    def format(self) -> Format:
        """The format itself. It is found by its name, so that a policy can be handed to another process."""
        return registry.find_format(self.name)

    def with_options(self, given: Mapping[str, str]) -> "FormatPolicy":
        """This policy, where the command line says something else for its format. Raises UsageError."""
        return replace(self, settings=self.format.with_options(self.settings, given))


def mistaken_formats(reader: Reader) -> list[str]:
    """What `[formats]` has tables of, and is no format."""
    known = registry.format_names()
    return [name for name, _ in reader.table("formats").tables() if name not in known]


def read_formats(
    reader: Reader, naming: NamingPolicy, export: Reader, *, together: bool = False
) -> tuple[FormatPolicy, ...]:
    """`[formats]`, in its order. Formats may have keys of their own in `[export]`, which are asked for here. `together`
    is the default of that key, of formats whose variants can share a repo."""
    policies = []
    known = registry.format_names()
    tables = reader.table("formats")
    for name, table in tables.tables():
        if name not in known:
            tables.note(name, f"is no format{hint(name, known)}")
            continue
        policies.append(_read_format(name, table, naming, export, together=together))
        table.close()
    if not tables.keys():
        reader.note("formats", f"is missing: add a table in it for each format to release ({', '.join(known)})")
    if export.unasked():  # perhaps of one of tagship's own formats that this policy does not release
        for name in registry.shipped_names():
            if not tables.has(name):
                registry.find_format(name).configure(Reader({}, f"formats.{name}", []), export)
    return tuple(policies)


def check_streams(reader: Reader, streams: Sequence[Stream], formats: Sequence[FormatPolicy]) -> None:
    """Note the formats whose own version tags would be taken for those of another stream."""
    for policy in formats:
        if policy.stream is None:
            continue
        table = reader.table("formats").table(policy.name)
        tag = policy.stream.tag_of("1.0.0")
        for earlier in streams[: streams.index(policy.stream)]:
            if earlier.name == policy.name:
                table.note("stream", f"has the name of another stream, {earlier.name!r}: rename that in [tags]")
            elif earlier.version_of(tag):
                table.note("stream", f"has tags of the stream {earlier.name!r}, {earlier.pattern.text}: {tag} is one")


def _read_format(name: str, table: Reader, naming: NamingPolicy, export: Reader, *, together: bool) -> FormatPolicy:
    found = registry.find_format(name)
    if found.shared is None:
        together = False
        if table.has("together"):
            table.note("together", "is of formats that make several files of one model, which this one does not")
    together = table.flag("together", together)
    settings = found.configure(table, export)
    variants = tuple(
        dict.fromkeys((*found.variants(settings, ()), *found.variants(settings, found.quants_of(settings))))
    )
    stream = read_format_stream(table, name)
    policy = FormatPolicy(
        name=name,
        settings=settings,
        names=read_names(table, naming, name, variants, found.shared if together else None),
        variants=variants,
        stream=stream,
        paths=table.texts("paths", ()),
        changelog=table.text("changelog", f"CHANGELOG-{name}.md"),
        together=together,
    )
    for key in ("paths", "changelog"):
        if stream is None and table.has(key):
            table.note(key, f'needs versions of the format\'s own: add stream = "{name}-v{{version}}"')
    return policy
