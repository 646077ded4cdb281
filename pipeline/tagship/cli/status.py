"""The verb `status`: what of the namespace is published, and the runs of CI that version tags have triggered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tagship.cli.session import Document, Session
from tagship.naming.tags import read_tag
from tagship.published.ci_runs import CiRun, ci_runs
from tagship.published.matrix import Matrix, matrices
from tagship.release.plan import repository_page
from tagship.system.errors import ReleaseError

_SHOWN = 10


def status(session: Session) -> Document:
    """Models with their newest versions, and CI runs; what cannot be seen is said."""
    unseen: list[str] = []
    return {
        "namespace": session.config.namespace,
        "models": [_model(each) for each in _published(session, unseen)],
        "runs": [asdict(run) for run in _runs(session, unseen)],
        "unseen": unseen,
    }


def lines_of(document: Mapping[str, Any]) -> Iterator[str]:
    """The document as people read it."""
    yield f"published under {document['namespace']}"
    for model in document["models"]:
        yield f"  {model['model']}"
        for version in model["versions"][:_SHOWN]:
            yield f"    {version['name']:<18} {version['released'][:10]}  {', '.join(version['formats'])}"
    if not document["models"]:
        yield "  nothing"
    yield "CI runs of version tags"
    for run in document["runs"][:_SHOWN]:
        yield f"  {run['tag']:<18} {run['started'][:10]}  {run['workflow']}: {run['status']}  {run['url']}"
    if not document["runs"]:
        yield "  none"
    yield from document["unseen"]


def _published(session: Session, unseen: list[str]) -> Sequence[Matrix]:
    with session.hub() as hub:
        try:
            return matrices(hub, session.config) if hub.has_repos else []
        except ReleaseError as error:
            unseen.append(str(error))
            return []


def _runs(session: Session, unseen: list[str]) -> list[CiRun]:
    web = repository_page(session.config, session.repository)
    if web is None:
        unseen.append(f"CI runs are not seen: the remote {session.config.versions.remote} is no page of a forge")
        return []
    try:
        found = ci_runs(web)
    except ReleaseError as error:
        unseen.append(f"{error}" + (f" ({error.remedy})" if error.remedy else ""))
        return []
    return [run for run in found if read_tag(run.tag, session.config.streams).stream]


def _model(matrix: Matrix) -> Document:
    return {
        "model": matrix.model,
        "versions": [
            {
                "name": row.name,
                "tag": row.tag,
                "released": max(
                    cell.release.manifest.exported.isoformat() for cell in row.cells.values() if cell.release
                ),
                "formats": [name for name, cell in row.cells.items() if cell.release],
            }
            for row in matrix.rows
        ],
    }
