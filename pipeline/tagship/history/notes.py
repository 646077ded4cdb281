"""Release notes: the commits of a release by type, who made them, what changed in the model, the artifacts.

The text is `templates/notes.md.j2`. It goes into the tag's message, the card and the changelog.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from tagship.history.changes import LoggedChange
from tagship.history.conventional import co_authors
from tagship.history.model import ModelChange, ModelState
from tagship.history.unreleased import Unreleased
from tagship.history.web_links import commit_link, compare_link
from tagship.naming.tags import VersionTag
from tagship.runs.recorded import METRIC, METRICS
from tagship.system.templating import Templates

TEMPLATE = "notes.md.j2"
# Of the same, what concerns those who use the model.
CARD_NOTES = "cards/notes.md.j2"
# Keep a Changelog's words for what users care about; then what is only for those who maintain it.
_GROUPS = (
    ("Added", ("feat",)),
    ("Changed", ("perf", None)),
    ("Fixed", ("fix",)),
    ("Reverted", ("revert",)),
    ("Documentation", ("docs",)),
)
_OTHERS = "Maintenance"
_TOLD_BY_FACTS = ("the base model is ", "the adapter's r is ", "the adapter's scale ")


class Entry(Struct, frozen=True, kw_only=True):
    """A commit in the notes; `url` is its page, where the remote is known; `of_model` whether it touches what the model
    is made of."""

    text: str
    scopes: tuple[str, ...]
    references: tuple[str, ...]
    commit: str
    url: str | None
    of_model: bool


class Fact(Struct, frozen=True, kw_only=True):
    """Something of the model: what it is now, and what it was, where that is another value."""

    name: str
    now: str
    was: str | None


class Artifact(Struct, frozen=True, kw_only=True):
    """A packaged export: its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


class Notes(Struct, frozen=True, kw_only=True):
    """What a release brings. `tag` is None where it has no version yet; `groups` are entries by
    heading; `compare` is the page with all of its changes.

    Commits that touch neither run, base, policy nor data are in no group, unless they break something: `folded` is how
    many they are. `model_changes` say what of the model changed that no fact in `model` tells; `same_model` is whether
    it is known that nothing did.
    """

    tag: str | None
    version: str | None
    date: datetime
    since: VersionTag | None
    compare: str | None
    breaking: tuple[Entry, ...]
    groups: Mapping[str, tuple[Entry, ...]]
    folded: int
    contributors: tuple[str, ...]
    model: tuple[Fact, ...]
    model_changes: tuple[str, ...]
    same_model: bool
    artifacts: tuple[Artifact, ...]


def make_notes(
    coming: Unreleased,
    tag: VersionTag | None,
    date: datetime,
    *,
    web: str | None = None,
    artifacts: Sequence[Artifact] = (),
) -> Notes:
    """The notes of what a release line has come to; `web` is the repository's page, for links."""
    changes, since = coming.changes, coming.since
    listed = [logged for logged in changes if coming.concerns_model(logged)]
    breaking = [logged for logged in changes if logged.change.breaking]
    told = {logged.commit.sha for logged in (*listed, *breaking)}
    return Notes(
        tag=tag.name if tag else None,
        version=tag.version if tag else None,
        date=date,
        since=since,
        compare=compare_link(web, since.name, tag.name) if web and since and tag else None,
        breaking=tuple(_entry(coming, logged, logged.change.breaking_note or "", web) for logged in breaking),
        groups=_grouped(coming, listed, web),
        folded=len({logged.commit.sha for logged in changes} - told),
        contributors=_contributors(changes),
        model=tuple(_facts(*coming.model)) if coming.model else (),
        model_changes=tuple(dict.fromkeys(_changed(coming.model_changes()))),
        same_model=coming.is_same_model,
        artifacts=tuple(artifacts),
    )


def render_notes(notes: Notes, templates: Templates, template: str = TEMPLATE) -> str:
    """The notes as Markdown, without a heading of their own."""
    return templates.render(template, notes=notes).strip() + "\n"


def _grouped(coming: Unreleased, changes: Sequence[LoggedChange], web: str | None) -> dict[str, tuple[Entry, ...]]:
    heading_of = {kind: heading for heading, kinds in _GROUPS for kind in kinds}
    grouped: dict[str, list[Entry]] = {heading: [] for heading in (*dict(_GROUPS), _OTHERS)}
    for logged in changes:
        if logged.change.breaking_note == logged.change.description:
            continue  # all that there is to say of it stands under the breaking changes
        heading = heading_of.get(logged.change.type, _OTHERS)
        grouped[heading].append(_entry(coming, logged, logged.change.description, web))
    return {heading: tuple(entries) for heading, entries in grouped.items() if entries}


def _entry(coming: Unreleased, logged: LoggedChange, text: str, web: str | None) -> Entry:
    sha = logged.commit.sha
    return Entry(
        text=" ".join(text.split()),
        scopes=logged.change.scopes,
        references=tuple(it for it in logged.change.references if not re.search(rf"{re.escape(it)}(?![0-9])", text)),
        commit=sha,
        url=commit_link(web, sha) if web else None,
        of_model=coming.concerns_model(logged),
    )


def _contributors(changes: Iterable[LoggedChange]) -> tuple[str, ...]:
    names = [name for logged in changes for name in (logged.commit.author, *co_authors(logged.commit.message))]
    return tuple(sorted(dict.fromkeys(names), key=str.casefold))


def _changed(changes: Iterable[ModelChange]) -> Iterable[str]:
    """What changed in the model, but for what the facts tell by what they were: the base's name, rank and alpha."""
    for change in changes:
        if not change.what.startswith(_TOLD_BY_FACTS):
            yield change.what


def _facts(before: ModelState | None, now: ModelState) -> Iterable[Fact]:
    was = _described(before) if before else {}
    for name, value in _described(now).items():
        yield Fact(name=name, now=value, was=was[name] if was.get(name, value) != value else None)


def _described(state: ModelState) -> dict[str, str]:
    """A model as people compare it: base, adapter, data, metrics."""
    base = f"{state.base_model} at {state.base_revision}" if state.base_revision else state.base_model
    described: dict[str, Any] = {
        "base model": base,
        "run": state.run,
        "rank": state.architecture.get("r"),
        "alpha": state.scale[0],
        "dataset": _dataset(state.recorded.get("dataset")),
        "epochs": state.recorded.get("epochs"),
        **_metrics(state.recorded),
    }
    return {name: _shown(value) for name, value in described.items() if value is not None}


def _dataset(recorded: Any) -> Any:
    return recorded.get("name") if isinstance(recorded, dict) else recorded


def _metrics(recorded: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in recorded.items() if METRIC.search(name)}
    for key in METRICS:
        if isinstance(more := recorded.get(key), dict):
            found |= more
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
