"""Versions by formats: what of a model is on the Hub, of what it was made, what was shown of it, and what is live."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.card_changes import is_withdrawn
from tagship.hub.connection import Hub
from tagship.naming.version import is_prerelease, precedence
from tagship.policy.config import Config
from tagship.published.lines import by_repo, is_version, lines_of, model_of, shown_of, version_of
from tagship.published.releases import Published, card_at, differing, is_main_unused, releases_in
from tagship.published.rollback_titles import taken_back

LIVE, WITHDRAWN, CHANGED, UNFINISHED, MISSING = "live", "withdrawn", "changed", "unfinished", "missing"


class Cell(Struct, frozen=True, kw_only=True):
    """A version in a format: `state` is live, withdrawn, missing, changed where main has other files than any of the
    repo's releases, or unfinished where main has it and it has no tag; `latest` is whether it is the one that people
    are to use. `release` is what the Hub has of it, None where that is nothing."""

    state: str
    latest: bool = False
    release: Published | None = None


class Row(Struct, frozen=True, kw_only=True):
    """A version of a model, with a cell for each format; None as tag is a release by time, of the moment in `name`."""

    name: str
    tag: str | None
    cells: Mapping[str, Cell]


class Matrix(Struct, frozen=True, kw_only=True):
    """A model's versions, the newest first, and the formats in which any of them is there."""

    model: str
    formats: tuple[str, ...]
    rows: tuple[Row, ...]


def matrices(hub: Hub, config: Config) -> list[Matrix]:
    """The matrix of each model of the namespace, by its name. Raises ToolError when the Hub does not answer."""
    releases = releases_in(hub, config.namespace)
    versions = {(each.repo_id, str(each.tag)): version_of(each) for each in releases if is_version(each)}
    states = {
        id(release): cell for line in lines_of(config, releases) for release, cell in _states(hub, line, versions)
    }
    by_model: dict[str, list[Published]] = {}
    for release in releases:
        if release.tag is not None and not is_version(release):
            continue  # somebody's own tag on a release
        by_model.setdefault(model_of(config, release), []).append(release)
    return [_matrix(model, of_it, states) for model, of_it in sorted(by_model.items())]


def format_of(release: Published) -> str:
    """The format, and its quantization type where it has one: `ollama q4_k_m`."""
    return " ".join(filter(None, (release.manifest.format, release.manifest.quant)))


def document(matrix: Matrix, url: str) -> dict[str, Any]:
    """A matrix as `--json` prints it; `url` is the Hub's."""
    return {
        "model": matrix.model,
        "formats": list(matrix.formats),
        "versions": [
            {"tag": row.tag, "name": row.name, "formats": {name: _cell(cell, url) for name, cell in row.cells.items()}}
            for row in matrix.rows
        ],
    }


def _matrix(model: str, releases: Iterable[Published], states: Mapping[int, Cell]) -> Matrix:
    found: dict[tuple[str, str | None], dict[str, Cell]] = {}
    for release in releases:
        name = release.tag or release.manifest.tag or release.manifest.exported.strftime("%Y%m%d-%H%M%S")
        cells = found.setdefault((name, release.tag), {})
        state = UNFINISHED if release.tag is None and release.unfinished else LIVE
        cells[format_of(release)] = states.get(id(release)) or Cell(state=state, release=release)
    formats = tuple(sorted({name for cells in found.values() for name in cells}))
    missing = dict.fromkeys(formats, Cell(state=MISSING))  # in the order of the formats
    order = sorted(found, key=lambda row: _order(found[row]), reverse=True)
    rows = (Row(name=name, tag=tag, cells=missing | found[name, tag]) for name, tag in order)
    return Matrix(model=model, formats=formats, rows=tuple(rows))


def _order(cells: Mapping[str, Cell]) -> tuple[Any, ...]:
    """Versions before releases by time, each the newest first."""
    release = next(cell.release for cell in cells.values() if cell.release)
    exported = release.manifest.exported
    return (1, precedence(version_of(release)), exported) if is_version(release) else (0, (), exported)


def _states(
    hub: Hub, line: tuple[Published, ...], versions: Mapping[tuple[str, str], str]
) -> list[tuple[Published, Cell]]:
    """Of each version of a line whether it was withdrawn, and which one is to be used: the highest final one that was
    not, else the highest. `versions` are those of all repos, by repo and tag."""
    withdrawn: list[Published] = []
    changed: list[Published] = []
    for of_repo in by_repo(line).values():
        at, back = _standing(hub, of_repo, versions)
        withdrawn += back
        shown = shown_of(of_repo)
        if (
            at is None
            and not shown.unfinished
            and not (is_prerelease(version_of(shown)) and is_main_unused(hub, shown))
        ):
            changed.append(shown)
    kept = [release for release in line if release not in withdrawn]
    final = [release for release in kept if not is_prerelease(version_of(release))]
    latest = next(reversed(final or kept), None)
    return [
        (release, Cell(state=_state(release, withdrawn, changed), latest=release is latest, release=release))
        for release in line
    ]


def _state(release: Published, withdrawn: Sequence[Published], changed: Sequence[Published]) -> str:
    return WITHDRAWN if release in withdrawn else CHANGED if release in changed else LIVE


def _standing(
    hub: Hub, releases: tuple[Published, ...], versions: Mapping[tuple[str, str], str]
) -> tuple[str | None, list[Published]]:
    """Which of a repo's versions main is at, None where it is at none of them; and those that were taken back: all,
    where its card says so, or the final ones above the one that main is at, and those that main's history tells of."""
    last = releases[-1]
    at = _version_on_main(hub, last, versions)
    if is_withdrawn(card_at(hub, last.repo_id, last.head) or ""):
        return at, list(releases)
    final = [release for release in releases if not is_prerelease(version_of(release))]
    above = [release for release in final if at and precedence(version_of(release)) > precedence(at)]
    known = {tag: version for (_, tag), version in versions.items()}
    back = taken_back(hub, last.repo_id, known) if last.others else set()
    return at, [*above, *(release for release in final if release.tag in back and release not in above)]


def _version_on_main(hub: Hub, release: Published, versions: Mapping[tuple[str, str], str]) -> str | None:
    """The version that main is at, which may be none of the release's own line: an earlier one had other exports."""
    for tag, commit in {str(release.tag): release.commit, **release.others}.items():
        known = versions.get((release.repo_id, tag))
        if known and not differing(hub, replace(release, commit=commit), release.head):
            return known
    return None


def _cell(cell: Cell, url: str) -> dict[str, Any]:
    release = cell.release
    if release is None:
        return {"state": cell.state}
    manifest = release.manifest
    shown = manifest.shown()
    measured = shown and (shown.text or shown.answers)
    return {
        "state": cell.state,
        "latest": cell.latest,
        "repo": release.repo_id,
        # Where a repo has other versions, too, main need not have this one.
        "url": f"{url}/{release.repo_id}" + (f"/tree/{release.tag}" if release.tag and release.others else ""),
        "commit": release.commit,
        "released": manifest.exported.isoformat(),
        "size": manifest.size,
        "base_model": manifest.base_model,
        "base_revision": manifest.base_revision,
        "outcome": shown.outcome if shown else "untested",
        "summary": shown.summary if shown else None,
        "quick": bool(shown and shown.is_short),
        "runtime": shown.runtime if shown else None,
        "verified": shown.date if shown else None,
        "kl": measured.kl if measured else None,
        "top1": measured.top1 if measured else None,
        "same_answers": shown.same if shown and shown.answers else None,
        "prompts": shown.prompts if shown and shown.answers else None,
    }
