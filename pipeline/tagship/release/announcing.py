"""The step that tells of a release, after its check, wherever the policy says; and what is known of that beforehand."""

import os
from collections.abc import Iterator
from contextlib import suppress

from tagship.announce.announcement import Announcement, Place, ReleasedFile, ReleasedRepo
from tagship.announce.places import places_of
from tagship.artifacts.manifest import FileEntry
from tagship.history.notes import make_notes, render_notes
from tagship.naming.version import is_prerelease
from tagship.release.plan import Plan
from tagship.release.publishing import unless_published
from tagship.release.release_notes import unreleased_in
from tagship.release.results import Announced, Packaged, Published, Results
from tagship.release.step import Tools
from tagship.release.targets import by_repo
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.templating import Templates


def check_announcing(plan: Plan) -> None:
    """Raise ReleaseError for a place that the release could not be told of: what lets one in is missing, or the tag is
    not there."""
    if unless_announced(plan) is None and plan.tag is not None:
        for place in _places(plan):
            place.check(plan.tag.name)


def announce(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Tell of the release in each place. It is there by now, so that a place that fails is told and leaves the others
    be: the same command tells it there."""
    announcement = announcement_of(plan, done, tools.repository, tools.templates)
    for place in _places(plan):
        try:
            with tools.console.working(f"telling {place.name}"):
                told = place.tell(announcement)
        except ReleaseError as error:
            tools.console.warn(f"{place.name} was not told of the release: {error}", error.remedy)
            yield Announced(place=place.name, error=str(error), remedy=error.remedy)
        else:
            seen = f" {told.url}" if told.url else ""
            tools.console.note(f"{place.name}:{seen or ' told'}{', as it was before' if told.before else ''}")
            yield Announced(place=place.name, url=told.url, before=told.before)


def announcement_of(plan: Plan, done: Results, repository: Repository, templates: Templates) -> Announcement:
    """What is told of a release that was published."""
    assert plan.version_tag is not None
    repos = tuple(_repos(plan, done))
    archives = tuple(
        ReleasedFile(path=each.target.artifact.name, size=each.archive.size, sha256=each.archive.sha256)
        for each in done.of(Packaged)
    )
    text = templates.render(
        "announcement.md.j2",
        notes=_notes(plan, repository, templates),
        repos=repos,
        archives=archives,
        run=plan.run.name,
        base_model=plan.base.id,
        commit=plan.commit.sha,
    )
    return Announcement(
        tag=plan.version_tag.name,
        version=plan.version_tag.version,
        prerelease=is_prerelease(plan.version_tag.version),
        title=plan.version_tag.name,
        text=text,
        run=plan.run.name,
        base_model=plan.base.id,
        commit=plan.commit.sha,
        source=plan.source,
        repos=repos,
        archives=archives,
    )


def unless_announced(plan: Plan) -> str | None:
    if reason := unless_published(plan):
        return reason
    if not plan.config.announce.announces:
        return "[announce] names no place"
    if plan.embedded:
        return "the embedded Hub is nobody's but this machine's"
    if plan.proposes:
        return "nothing is released before it is merged"
    return None if plan.stream else "no version"


def _places(plan: Plan) -> tuple[Place, ...]:
    return places_of(plan.config.announce, plan.source, plan.config.state / "announced", os.environ.get)


def _repos(plan: Plan, done: Results) -> Iterator[ReleasedRepo]:
    for repo_id, targets in by_repo(plan.targets).items():
        published = [done.for_target(Published, target) for target in targets]
        files: dict[str, FileEntry] = {entry.path: entry for each in published for entry in each.files}
        yield ReleasedRepo(
            name=", ".join(target.name for target in targets),
            repo_id=repo_id,
            url=published[0].url,
            commit=published[0].commit,
            files=tuple(
                ReleasedFile(path=entry.path, size=entry.size, sha256=entry.sha256)
                for _, entry in sorted(files.items())
            ),
        )


def _notes(plan: Plan, repository: Repository, templates: Templates) -> str:
    """The version's release notes with links; none where the clone lacks the history, which was told before."""
    assert plan.tag is not None
    with suppress(ReleaseError):
        unreleased = unreleased_in(plan, repository)
        notes = make_notes(unreleased, plan.version_tag, plan.tag.commit.time, web=plan.source)
        return render_notes(notes, templates).strip()
    return ""
