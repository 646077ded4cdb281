"""The verb `migrate`: a plan first, and with --yes its moves."""

from collections.abc import Sequence

from tagship.artifacts.manifest import Manifest, manifests_below
from tagship.cli.session import Document, Session
from tagship.hub.access import check_access
from tagship.hub.connection import Hub
from tagship.hub.released import list_repos
from tagship.hub.repository import published_manifest
from tagship.naming.names import ARTIFACT, REPO
from tagship.naming.parsing import Reading
from tagship.naming.tags import read_tag
from tagship.release.migration import Move, apply, find, parse_map, plan_moves, version_by_commit
from tagship.system.errors import UsageError


def migrate_names(session: Session, mapped: Sequence[str], *, yes: bool) -> Document:
    """Give date-based artifacts and repos versioned names."""
    config = session.config
    with session.hub() as hub:
        found = find(config, list_repos(hub, config.namespace) if hub.has_repos else ())

        def version_of(what: str, old: str, reading: Reading) -> str | None:
            manifest = _manifest(session, hub, what, old, reading)
            if manifest is None:
                return None
            return version_by_commit(config, manifest, session.repository.tags_on(manifest.commit))

        moves = plan_moves(config, found, parse_map(mapped), version_of, _rest(session))
        done = [move for move in moves if move.new]
        _show(session, moves)
        if yes:
            if moved := [f"{config.namespace}/{move.old}" for move in done if move.what == REPO]:
                check_access(hub, dict.fromkeys(moved, True))
            for move in done:
                apply(config, hub, move)
            session.console.step("Done", f"{len(done)} renamed")
        elif done:
            session.console.note("nothing is changed yet: --yes does it")
    return {
        "applied": yes,
        "moves": [{"what": move.what, "old": move.old, "new": move.new} for move in done],
        "unmapped": [{"what": m.what, "old": m.old, "reason": m.reason} for m in moves if m.new is None],
    }


def _rest(session: Session) -> str | None:
    if session.options.tag is None:
        return None
    tag = read_tag(session.options.tag, session.config.streams)
    if tag.stream is None:
        raise UsageError(f"{tag.name!r} is no version tag", remedy="name one such as v2.0.0")
    return tag.version


def _manifest(session: Session, hub: Hub, what: str, old: str, reading: Reading) -> Manifest | None:
    """The manifest of what has a name: in the repo, or of the newest export that an archive may be of."""
    if what == REPO:
        return published_manifest(hub, f"{session.config.namespace}/{old}", "main")
    assert reading.format is not None
    wanted = (reading.format.name, reading.quant, reading.fields.get("run"))
    exports = manifests_below(session.config.exports)
    fitting = [m for m in exports if (m.format, m.quant, m.run) == wanted and m.tag is None]
    return max(fitting, key=lambda manifest: manifest.exported, default=None)


def _show(session: Session, moves: Sequence[Move]) -> None:
    session.console.step("Migration", "" if moves else "nothing has a date-based name")
    for move in moves:
        kind = "archive" if move.what == ARTIFACT else "repo"
        session.console.note(f"{kind} {move.old} → {move.new}" if move.new else f"{kind} {move.old}: {move.reason}")
