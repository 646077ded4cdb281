"""The verb `status`: what of the namespace is published, and the runs of CI that version tags have triggered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from tagship.cli.session import Document, Session
from tagship.hub.patience import ASIDE, impatient
from tagship.naming.tags import read_tag
from tagship.published.ci_runs import CiRun, ci_runs
from tagship.published.matrix import WITHDRAWN, Matrix, matrices
from tagship.release.plan import repository_page
from tagship.system.errors import ReleaseError
from tagship.system.shown import masked

_SHOWN = 10


def status(session: Session) -> Document:
    """Models with their newest versions, and CI runs; what cannot be seen is null, and said."""
    unseen: list[str] = []
    return {
        "namespace": session.config.namespace,
        "models": None if (found := _published(session, unseen)) is None else [_model(each) for each in found],
        "runs": None if (runs := _runs(session, unseen)) is None else [to_builtins(run) for run in runs],
        "unseen": unseen,
    }


def lines_of(document: Mapping[str, Any]) -> Iterator[str]:
    """The document as people read it."""
    yield f"published under {document['namespace']}"
    for model in document["models"] or ():
        yield f"  {model['model']}"
        for version in model["versions"][:_SHOWN]:
            yield f"    {version['name']:<18} {version['released'][:10]}  {_formats(version)}"
    if not document["models"]:
        yield "  not seen" if document["models"] is None else "  nothing"
    yield "CI runs of version tags"
    for run in (document["runs"] or ())[:_SHOWN]:
        yield f"  {run['tag']:<18} {run['started'][:10]}  {run['workflow']}: {run['status']}  {run['url']}"
    if not document["runs"]:
        yield "  not seen" if document["runs"] is None else "  none"
    yield from document["unseen"]


def _formats(version: Mapping[str, Any]) -> str:
    """The formats of a version, and which of them were withdrawn."""
    formats, withdrawn = version["formats"], version["withdrawn"]
    which = "" if withdrawn == formats else f": {', '.join(withdrawn)}"
    return ", ".join(formats) + (f"  withdrawn{which}" if withdrawn else "")


def _published(session: Session, unseen: list[str]) -> Sequence[Matrix] | None:
    with session.hub() as hub, impatient(ASIDE):
        try:
            return matrices(hub, session.config) if hub.has_repos else []
        except ReleaseError as error:
            unseen.append(str(error))
            return None


def _runs(session: Session, unseen: list[str]) -> list[CiRun] | None:
    web = repository_page(session.config, session.repository)
    if web is None:
        remote = session.config.versions.remote
        url = session.repository.remote_url(remote)
        why = f"the remote {remote} is {masked(url)}, which is on no forge" if url else f"there is no remote {remote}"
        unseen.append(f"CI runs are not seen: {why}")
        return None
    try:
        found = ci_runs(web)
    except ReleaseError as error:
        unseen.append(f"{error}" + (f" ({error.remedy})" if error.remedy else ""))
        return None
    tags = {tag.name for tag in session.repository.list_tags()}  # a branch may have such a name, too
    return [run for run in found if run.tag in tags and read_tag(run.tag, session.config.streams).stream]


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
                "withdrawn": [name for name, cell in row.cells.items() if cell.release and cell.state == WITHDRAWN],
            }
            for row in matrix.rows
        ],
    }
