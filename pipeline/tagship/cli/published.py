"""The verbs that look after what was published: `audit`, `rollback`, `matrix`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tagship.cli.options import OPTIONS
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.hub.access import check_access
from tagship.hub.connection import Hub
from tagship.naming.tags import read_tag
from tagship.policy.config import Config
from tagship.published import matrix as matrices
from tagship.published.audit import DIFFERENT, Audit
from tagship.published.audit import audit as look_at
from tagship.published.matrix import Cell, Matrix
from tagship.published.releases import Published, releases_in, releases_of, releases_under
from tagship.published.rollback import apply, plan_rollback
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import write_text
from tagship.verify.evidence import PASSED, UNTESTED

# Where `invoke hub` serves the embedded Hub, which is open only while something runs.
SERVED = f"http://127.0.0.1:{OPTIONS['port'][0]}"


def audit(session: Session, repo_id: str | None) -> Document:
    """Compare what is published with its manifests: a repo, what a tag released, or all of the namespace."""
    with session.hub() as hub:
        releases = _chosen(session.config, hub, repo_id, session.options.tag)
        audits = []
        for release in releases:
            audits.append(look_at(hub, release))
            _show(session, audits[-1])
    ok = all(each.ok for each in audits)
    document = {"ok": ok, "releases": [_document(each) for each in audits]}
    return document if ok else Refusal(document)


def _chosen(config: Config, hub: Hub, repo_id: str | None, tag: str | None) -> list[Published]:
    if not hub.has_repos:
        raise ReleaseError("nothing was published yet", remedy="invoke release makes a release")
    if repo_id is None:
        found = releases_under(hub, config.namespace, tag) if tag else releases_in(hub, config.namespace)
        if not found:
            raise ReleaseError(
                f"no repo of {config.namespace} on {hub.url} has a release.json", remedy="name one with --repo"
            )
        return found
    repo_id = repo_id if "/" in repo_id else f"{config.namespace}/{repo_id}"
    of_repo = releases_of(hub, repo_id)
    found = [release for release in of_repo if tag is None or release.tag == tag]
    if not found:
        tags = ", ".join(str(release.tag) for release in of_repo if release.tag)
        raise ReleaseError(
            f"{repo_id} has no release.json" + (f" at {tag}" if tag else ""),
            remedy=f"it has the releases {tags}" if tags else "only what tagship published can be audited",
        )
    return found


def _show(session: Session, found: Audit) -> None:
    release = found.release
    session.console.step(f"{release.repo_id} {release.tag or 'main'}")
    for finding in found.findings:
        line = f"{finding.about}: {finding.told}"
        session.console.note(f"{finding.level}: {line}" if finding.level != DIFFERENT else f"DIFFERENT: {line}")


def _document(found: Audit) -> Document:
    release = found.release
    return {
        "repo": release.repo_id,
        "tag": release.tag,
        "commit": release.commit,
        "ok": found.ok,
        "findings": [asdict(finding) for finding in found.findings],
    }


def rollback(session: Session, tag: str | None, *, yes: bool, create_pr: bool) -> Document:
    """Make an earlier release the live one again: a plan first, and with --yes its commits."""
    if not tag:
        raise UsageError("rollback needs to know which release is to be live", remedy="invoke rollback --to v1.2.0")
    if read_tag(tag, session.config.streams).stream is None:
        raise UsageError(f"{tag!r} is no version tag", remedy="name one such as v1.2.0; invoke tags lists them")
    done = []
    with session.hub() as hub:
        if not hub.has_repos:
            raise ReleaseError("nothing was published yet", remedy="invoke release makes a release")
        changes = plan_rollback(hub, session.config, tag, session.options.formats)
        session.console.step(f"Roll back to {tag}", "" if changes else "it is live already: nothing is to be done")
        if yes and changes and not create_pr:
            check_access(hub, {change.repo_id: True for change in changes})
        for change in changes:
            url = apply(hub, change, create_pr=create_pr) if yes else None
            session.console.note(f"{change.repo_id}: {change.told}" + (f"  {url}" if url and create_pr else ""))
            done.append({"repo": change.repo_id, "does": change.told, "url": url})
    if changes and not yes:
        session.console.note("nothing is changed yet: --yes does it")
    return {"to": tag, "applied": yes, "changes": done}


def matrix(session: Session, html: str | bool | None, markdown: str | bool | None, *, json: bool) -> Document:
    """Versions by formats, on standard output as a table, Markdown or HTML, or in a file."""
    with session.hub() as hub:
        found = matrices.matrices(hub, session.config) if hub.has_repos else []
        url = SERVED if hub.embedded else hub.url if found else session.config.endpoint
    document = {"namespace": session.config.namespace, "models": [matrices.document(each, url) for each in found]}
    for name, wanted in (("matrix.html.j2", html), ("matrix.md.j2", markdown)):
        if not wanted:
            continue
        text = session.templates.render(name, **document)
        if isinstance(wanted, str):
            write_text(Path(wanted), text)
            session.console.note(f"wrote {wanted}")
        elif not json:
            print(text, end="")
    if not (html or markdown or json):
        print(*_lines(found), sep="\n")
    return document


def _lines(found: Sequence[Matrix]) -> Iterator[str]:
    """Tables as people read them, with columns as wide as what is in them."""
    for each in found:
        rows = [["version", *each.formats], *([row.name, *map(_word, row.cells.values())] for row in each.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield each.model
        for row in rows:
            yield "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    if not found:
        yield "nothing was published yet"


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
        told.append(f"KL {measured.kl:.2g}")
    return ", ".join(told)
