"""The verbs that look after what was published: `audit`, `rollback`, `matrix`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import to_builtins

from tagship.cli.help import terminal_width
from tagship.cli.lines import print_lines
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.hub.access import check_access
from tagship.hub.connection import Hub
from tagship.hub.served import SERVED
from tagship.naming.name_rules import HUB
from tagship.naming.tags import read_tag
from tagship.policy.config import Config
from tagship.published import matrix as matrices
from tagship.published.audit import audit as look_at
from tagship.published.audit import unread
from tagship.published.finding import DIFFERENT, Finding
from tagship.published.matrix import Cell, Matrix
from tagship.published.releases import Found, Published, Unread, all_in, all_of, exports_of
from tagship.published.rollback import apply, plan_rollback
from tagship.published.seals import Signatures
from tagship.release.seal_checks import checking_keys
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import write_text
from tagship.system.toml_reader import hint
from tagship.verify.evidence import PASSED, UNTESTED

_INDENT = "  "


def audit(session: Session, repo_id: str | None) -> Document:
    """Compare what is published with its manifests: a repo, what a tag released, or all of the namespace."""
    sign, keys = session.config.sign, checking_keys(session.config)
    with session.hub() as hub:
        must = sign.checks and not (sign.keyless and hub.embedded)
        signatures = Signatures(keys=keys, must=must, first=sign.first)
        releases = chosen(session.config, hub, repo_id, session.options.tag)
        audits = []
        for release in releases:
            findings = (unread(release),) if isinstance(release, Unread) else look_at(hub, release, signatures).findings
            audits.append(_document(release, findings))
            _show(session, release, findings)
    ok = all(each["ok"] for each in audits)
    document = {"ok": ok, "releases": audits}
    return document if ok else Refusal(document)


def _check_there(hub: Hub) -> None:
    if not hub.has_repos:  # no need to start it for that
        raise ReleaseError("nothing was published yet", remedy=f"{called()} release makes a release")


def chosen(config: Config, hub: Hub, repo_id: str | None, tag: str | None) -> Found:
    """The releases of a repo, of a tag, or of all of the namespace. Raises UsageError, ReleaseError where there is
    none."""
    _check_there(hub)
    place = config.namespace
    if repo_id is None:
        there = all_in(hub, place)
    else:
        place = repo_id if "/" in repo_id else f"{config.namespace}/{repo_id}"
        if complaint := next(filter(None, (HUB.complaint(part, "name") for part in place.split("/", 1))), None):
            raise UsageError(f"{repo_id!r} is no repository: {complaint}", remedy="name it as namespace/name")
        there = all_of(hub, place)
    found = [release for release in there if tag in (None, release.tag)]
    if found:
        return found
    if not there:
        shown = "the embedded Hub" if hub.embedded else hub.url
        raise ReleaseError(f"{place} has no release.json on {shown}", remedy=f"{called()} release makes a release")
    tags = ", ".join(sorted({str(release.tag) for release in there if release.tag}))
    raise ReleaseError(f"nothing of {place} was released as {tag}", remedy=f"released are {tags}" if tags else None)


def _show(session: Session, release: Published | Unread, findings: Sequence[Finding]) -> None:
    session.console.step(release.repo_id, release.tag or "main")
    for finding in findings:
        level = finding.level.upper() if finding.level == DIFFERENT else finding.level
        session.console.note(f"{level}: {finding.about}: {finding.told}")


def _document(release: Published | Unread, findings: Sequence[Finding]) -> Document:
    return {
        "repo": release.repo_id,
        "tag": release.tag,
        "commit": release.commit,
        "ok": all(finding.level != DIFFERENT for finding in findings),
        "findings": [to_builtins(finding) for finding in findings],
    }


def rollback(session: Session, tag: str | None, *, yes: bool, create_pr: bool) -> Document:
    """Make an earlier release the live one again: a plan first, and with --yes its commits."""
    if not tag:
        raise UsageError(
            "rollback needs to know which release is to be live", remedy=f"{called()} rollback --to v1.2.0"
        )
    if read_tag(tag, session.config.streams).stream is None:
        raise UsageError(f"{tag!r} is no version tag", remedy=f"name one such as v1.2.0; {called()} tags lists them")
    done, formats = [], session.options.formats
    known = [policy.name for policy in session.config.formats]
    if unknown := next((name for name in formats if name not in known), None):
        raise UsageError(f"unknown format {unknown!r}{hint(unknown, known)}")
    with session.hub() as hub:
        _check_there(hub)
        there = all_in(hub, session.config.namespace)
        for release in there:
            if isinstance(release, Unread):
                session.console.warn(f"{release.repo_id} is left as it is: {release.problem}", None)
        releases = [each for found in there if isinstance(found, Published) for each in exports_of(found)]
        changes = plan_rollback(hub, session.config, releases, tag, formats)
        session.console.step(f"Roll back to {tag}", "" if changes else "it is live already: nothing is to be done")
        if yes and changes and not create_pr:
            check_access(hub, {change.repo_id: True for change in changes})
        for change in changes:
            url = hub.lasting(apply(hub, change, create_pr=create_pr)) if yes else None
            session.console.note(f"{change.repo_id}: {change.told}" + (f"  {url}" if url and create_pr else ""))
            done.append({"repo": change.repo_id, "does": change.told, "url": url})
    if changes and not yes:
        session.console.note("nothing is changed yet: --yes does it")
    return {"to": tag, "applied": yes and not create_pr, "proposed": yes and create_pr, "changes": done}


def matrix(session: Session, html: str | bool | None, markdown: str | bool | None, *, json: bool) -> Document:
    """Versions by formats, on standard output as a table, Markdown or HTML, or in a file."""
    with session.hub() as hub:
        found = matrices.matrices(hub, session.config) if hub.has_repos else []
        url = SERVED if hub.embedded else hub.url if found else session.config.endpoint
    if html is True and markdown is True:
        raise UsageError("--html and --markdown both go to standard output", remedy="give one of them a file")
    document = {"namespace": session.config.namespace, "models": [matrices.document(each, url) for each in found]}
    for name, wanted in (("matrix.html.j2", html), ("matrix.md.j2", markdown)):
        if not wanted:
            continue
        text = session.templates.render(name, **document)
        if isinstance(wanted, str):
            _write(Path(wanted), text)
            session.console.note(f"wrote {wanted}")
        elif not json:
            print(text, end="")
    if not (html or markdown or json):
        print_lines(lines_of_matrices(found, terminal_width() if sys.stdout.isatty() else None))
    return document


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def lines_of_matrices(found: Sequence[Matrix], width: int | None) -> Iterator[str]:
    """Tables as people read them, with columns as wide as what is in them; one that does not fit a terminal of `width`
    columns has a line for each format in place of a column."""
    for each in found:
        yield each.model
        lines = _columns(
            [["version", *each.formats], *([row.name, *map(_word, row.cells.values())] for row in each.rows)]
        )
        if width is None or max(map(len, lines)) + len(_INDENT) <= width:
            yield from (f"{_INDENT}{line}" for line in lines)
            continue
        for row in each.rows:
            yield f"{_INDENT}{row.name}"
            cells = _columns([[name, _word(cell)] for name, cell in row.cells.items()])
            yield from (f"{_INDENT * 2}{line}" for line in cells)
    if not found:
        yield "nothing was published yet"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _word(cell: Cell) -> str:
    """A cell in a few words."""
    if cell.release is None:
        return "-"
    shown = cell.release.manifest.shown()
    measured = shown and (shown.text or shown.answers)
    told = [f"{cell.state}, latest" if cell.latest else cell.state]
    if shown is None or shown.outcome != PASSED:
        told.append(shown.outcome if shown else UNTESTED)
    elif measured:
        told.append(f"KL {measured.kl:.2g}" + " by --quick" * shown.is_short)
    return ", ".join(told)
