"""From date-based names to versioned ones (the guide, "Migration from Date-Based Naming").

Names are found by reading them; which version each gets is told by `--map`, by `[migrate]`, by a
version tag on the commit that its manifest records, or by `--tag` for all that is left. Every move
is one rename, here or on the Hub: what was interrupted is finished by the same command.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from msgspec import Struct

from tagship.artifacts.archive import read_checksums, write_checksums
from tagship.artifacts.manifest import Manifest
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.naming.fields import PatternError
from tagship.naming.name_rules import FILES, HUB
from tagship.naming.names import ARTIFACT, REPO, make_name
from tagship.naming.parsing import ARCHIVE_ENDING, Reading, read_as
from tagship.naming.tags import read_tag, version_tags
from tagship.naming.version import is_semver
from tagship.policy.config import Config
from tagship.system.errors import UsageError

# Finds the version that a name's manifest leads to, or None: by the kind of name and the name.
VersionOf = Callable[[str, str, Reading], str | None]


class Move(Struct, frozen=True, kw_only=True):
    """A name and what it becomes; `new` is None, with the reason, where nothing tells."""

    what: str
    old: str
    new: str | None
    reason: str | None = None


class Found(Struct, frozen=True, kw_only=True):
    """The names that there are: archives by their files and their checksums, and repos."""

    artifacts: frozenset[str]
    sums: Mapping[str, str]
    repos: frozenset[str]

    def names(self, what: str) -> frozenset[str]:
        return self.artifacts if what == ARTIFACT else self.repos


def find(config: Config, repos: Iterable[str]) -> Found:
    """What there is in the artifacts' folder, beside the namespace's repos."""
    files = config.artifacts.glob(f"*{ARCHIVE_ENDING}") if config.artifacts.is_dir() else ()
    return Found(
        artifacts=frozenset(path.name for path in files),
        sums=read_checksums(config.artifacts),
        repos=frozenset(repos),
    )


def plan_moves(
    config: Config, found: Found, asked: Mapping[str, str], version_of: VersionOf, rest: str | None
) -> list[Move]:
    """What becomes of every date-based name.

    `asked` maps old names to new ones or to version tags, as `[migrate]` does, which it goes
    before; `rest` is the version of all that nothing else tells. Raises UsageError where two names
    would become one, and where what was asked for is not there. The table of release.toml may name
    what is not: archives are of one machine, the table is of all.
    """
    given = {**{_known_as(old): new for old, new in config.migrate.items()}, **asked}
    moves = [
        _move(config, what, old, found, given, version_of, rest)
        for what, names in ((ARTIFACT, found.artifacts | found.sums.keys()), (REPO, found.repos))
        for old in sorted(names)
        if _dated(config, what, old) or _plain(what, old) in given
    ]
    moves = [move for move in moves if not _is_gone(move, found)]
    _check_asked(config, asked, moves, found)
    _check_distinct(moves, found)
    return moves


def apply(config: Config, hub: Hub, move: Move) -> None:
    """Rename one archive, with its checksum, or move one repo, whose old name leads to the new one."""
    assert move.new is not None
    if move.what == REPO:
        old, new = f"{config.namespace}/{move.old}", f"{config.namespace}/{move.new}"
        with hub_errors(f"move {old} to {new}"):
            hub.api.move_repo(from_id=old, to_id=new)
        return
    old_path, new_path = config.artifacts / move.old, config.artifacts / move.new
    if old_path.exists():
        old_path.rename(new_path)
    sums = read_checksums(config.artifacts)
    if move.old in sums:
        sums[move.new] = sums.pop(move.old)
        write_checksums(config.artifacts, sums)


def version_by_commit(config: Config, manifest: Manifest, tags: Iterable[str]) -> str | None:
    """The version of a tag on the commit that a manifest records, of a stream that releases its format."""
    for tag in version_tags(tags, config.streams):
        if manifest.format in [policy.name for policy in config.released_by(tag.stream)]:
            return tag.version
    return None


def _dated(config: Config, what: str, name: str) -> Reading | None:
    """What a name without a version says, or None for one that has a version, or is of no pattern."""
    readings = read_as(what, name, config)
    # `{version}` takes any tag's full name, and so a date too.
    if any(reading.tagged and is_semver(str(reading.fields.get("version"))) for reading in readings):
        return None
    return next((reading for reading in readings if not reading.tagged), None)


def _move(
    config: Config,
    what: str,
    old: str,
    found: Found,
    given: Mapping[str, str],
    version_of: VersionOf,
    rest: str | None,
) -> Move:
    reading = _dated(config, what, old)
    target = given.get(_plain(what, old))
    version = _version(config, target) if target else None
    if target and version is None:
        return Move(what=what, old=old, new=_checked(what, _bare(config, target)))
    if reading is None:
        raise UsageError(
            f"{old} is no date-based name of a pattern, so that no name can be made for it from {target!r}",
            remedy=f"give the whole new name: --map {old}=NAME",
        )
    if what == REPO and config.tags_versions:
        reason = (
            "versions are tags of one repo ([hub] layout), so that a repo gets no version: --map gives it another name"
        )
        return Move(what=what, old=old, new=None, reason=reason)
    version = version or version_of(what, old, reading) or rest
    if version is None:
        return Move(what=what, old=old, new=None, reason=f"no version is known: --map {old}=v1.0.0, or --tag for all")
    try:
        new = _checked(what, _versioned(what, reading, version))
    except PatternError as error:  # the old name says less than the new one has to
        return Move(what=what, old=old, new=None, reason=f"{error}: --map {old}=NAME gives the whole name")
    if not target and new in found.names(what) and old in found.names(what):
        # Released once without a version, and then with it: both stay.
        reason = f"{new} is there already: --map {old}=v… gives another version"
        return Move(what=what, old=old, new=None, reason=reason)
    return Move(what=what, old=old, new=new)


def _versioned(what: str, reading: Reading, version: str) -> str:
    """The name by today's pattern where the old name tells all of its fields, else in its own style."""
    assert reading.format is not None and reading.pair is not None
    fields = {**reading.fields, "version": version}
    for variant in reading.format.variants:
        if variant.quant == reading.quant:
            fields |= {"kind": variant.kind, "prefix": variant.prefix, "label": variant.label}
    try:
        return make_name(reading.format.names.of(what).tagged, fields, what)
    except PatternError:
        return make_name(reading.pair.tagged, {**reading.fields, "version": version}, what)


def _checked(what: str, name: str) -> str:
    name = _whole(what, name)
    place = FILES if what == ARTIFACT else HUB
    if complaint := place.complaint(name, what):
        raise UsageError(complaint, remedy=f"nearest valid name: {place.nearest(name)!r}")
    return name


def _version(config: Config, target: str) -> str | None:
    """The version that a mapping's right side means, or None where it is a whole name."""
    tag = read_tag(target, config.streams)
    if tag.stream:
        return tag.version
    return target if is_semver(target) else None


def _bare(config: Config, new: str) -> str:
    """A new name without namespace and ending. Raises UsageError for another namespace's."""
    namespace, _, name = new.rpartition("/")
    if namespace not in ("", config.namespace):
        raise UsageError(f"{new} is of another namespace than {config.namespace}, where migrated repos stay")
    return name.removesuffix(ARCHIVE_ENDING)


def _known_as(old: str) -> str:
    return old.rpartition("/")[2].removesuffix(ARCHIVE_ENDING)


def _plain(what: str, name: str) -> str:
    return name.removesuffix(ARCHIVE_ENDING) if what == ARTIFACT else name


def _whole(what: str, plain: str) -> str:
    return plain + ARCHIVE_ENDING if what == ARTIFACT else plain


def _is_gone(move: Move, found: Found) -> bool:
    """An archive that is not there, unless its rename was interrupted before its checksum was moved."""
    if move.what == REPO or move.old in found.artifacts:
        return False
    return move.new not in found.artifacts or move.new in found.sums


def _check_asked(config: Config, asked: Mapping[str, str], moves: Iterable[Move], found: Found) -> None:
    moved = {_plain(move.what, move.old) for move in moves}
    for old, new in asked.items():
        # Where the old name is gone and the new one there, it was moved before.
        if old not in moved and not any(name in found.names(what) for what, name in _new_names(config, old, new)):
            raise UsageError(f"there is no artifact and no repo {old!r} to become {new!r}")


def _new_names(config: Config, old: str, new: str) -> Iterator[tuple[str, str]]:
    """What a mapping makes of an old name, by the kind of name, whether or not there is such a thing."""
    version = _version(config, new)
    for what in (ARTIFACT, REPO):
        if version is None:
            yield what, _whole(what, _bare(config, new))
        elif reading := _dated(config, what, old):
            with suppress(PatternError):
                yield what, _whole(what, _versioned(what, reading, version))


def _check_distinct(moves: Iterable[Move], found: Found) -> None:
    taken: dict[tuple[str, str], str] = {}
    for move in moves:
        if move.new is None:
            continue
        other = taken.setdefault((move.what, move.new), move.old)
        if other != move.old:
            raise UsageError(
                f"{other} and {move.old} would both become {move.new}",
                remedy=f"give each its own version: --map {other}=v1.0.0 --map {move.old}=v1.1.0",
            )
        if move.old in found.names(move.what) and move.new in found.names(move.what):
            raise UsageError(
                f"{move.old} would become {move.new}, which is there already",
                remedy=f"give it another version: --map {move.old}=v1.1.0",
            )


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """`--map OLD=NEW` options. Raises UsageError."""
    given = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UsageError(f"--map must be OLD=NEW, not {pair!r}")
        given[_known_as(old)] = new
    return given
