"""The verb `clean`: what a release left on this disk, removed where it is published or old."""

from tagship.cli.session import Document, Session
from tagship.release.cleaning import Left, decide, find_left, remove
from tagship.system.called import called
from tagship.system.errors import UsageError
from tagship.system.templating import human_size


def clean(session: Session, keep: str | None, *, dry_run: bool) -> Document:
    """Remove exports, archives, and what exports shared. Raises UsageError for what is no number, ToolError when the
    Hub does not answer."""
    number = _number(keep)
    config, console = session.config, session.console
    with session.hub() as hub, console.working("comparing with the Hub what is here"):
        decided = decide(hub, find_left(config), number)
    removed = [left for left in decided if left.why]
    console.step("Clean", f"of {len(decided)} exports, archives and shared parts {len(removed)} go")
    goes = "would be removed" if dry_run else "removed"
    for left in decided:
        console.note(f"{goes if left.why else 'kept'}: {left.path}, {human_size(left.size)}: {left.why or left.kept}")
    freed = sum(left.size for left in removed) if dry_run else remove(config, removed)
    console.step("Done" if not dry_run else "Would free", human_size(freed))
    if not removed and number is None:
        console.note(
            f"{called()} clean --keep N removes all but the newest N of each model and format, published or not"
        )
    return {
        "applied": not dry_run,
        "freed": freed,
        "removed": [_document(left) for left in removed],
        "kept": [_document(left) for left in decided if not left.why],
    }


def _number(keep: str | None) -> int | None:
    if keep is None:
        return None
    if not keep.isdecimal():
        raise UsageError(f"--keep takes a number, not {keep!r}", remedy="--keep 2 keeps the newest two")
    return int(keep)


def _document(left: Left) -> Document:
    return {"what": left.what, "path": str(left.path), "size": left.size, "why": left.why or left.kept}
