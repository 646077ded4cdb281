"""The steps that say what a release is: its notes, and the card of each export."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from tagship.artifacts.card import CardSources, render_card
from tagship.artifacts.card_metadata import front_matter
from tagship.artifacts.manifest import CARD_FILE, read_manifest, with_file, write_manifest
from tagship.history.notes import CARD_NOTES, make_notes, render_notes
from tagship.history.web_links import commit_link
from tagship.hub.succession import predecessors
from tagship.naming.tags import VersionTag
from tagship.release.export_store import job_of
from tagship.release.plan import Plan
from tagship.release.release_notes import repository_page, unreleased_in
from tagship.release.results import Exported, Fetched, Noted, Results
from tagship.release.seen import recall
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import write_text
from tagship.system.templating import Templates


def check_cards(plan: Plan, base: BaseFolder, templates: Templates) -> None:
    """Raise ReleaseError when the Hub would refuse a card for what its front matter says."""
    for target in plan.targets:
        front_matter(job_of(plan, target, base, templates), target.policy.format.card, plan.config.card)


def take_notes(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    assert plan.tag is not None
    unreleased = unreleased_in(plan, tools.repository)
    notes = make_notes(unreleased, plan.version_tag, plan.tag.commit.time)  # without links, which clones differ in
    since = unreleased.since.name if unreleased.since else "the beginning"
    number = len(unreleased.changes)
    tools.console.note(f"{number} {'commit' if number == 1 else 'commits'} since {since}")
    # Nobody who uses a first version asks what is new in it.
    text = render_notes(notes, tools.templates, CARD_NOTES) if unreleased.since else ""
    yield Noted(text=text, since=unreleased.since, before=_before(plan, unreleased.since, tools))


def _before(plan: Plan, since: VersionTag | None, tools: Tools) -> Mapping[str, str]:
    """The repos of the version before, by those that follow them. Without a Hub's answer there are none."""
    if since is None or not plan.publishes or not tools.hub.has_repos:
        return {}
    try:
        return predecessors(tools.hub, plan.config, since, plan.targets)
    except ToolError as error:
        tools.console.warn(f"the cards do not link to {since.name}: {error}", error.remedy)
        return {}


def describe(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    exported = done.for_target(Exported, target)
    folder = exported.folder
    job = job_of(plan, target, done.one(Fetched).base, tools.templates)
    card = render_card(target.policy.format, job, exported.manifest, plan.config, _sources(plan, target, done, tools))
    write_text(folder / CARD_FILE, card)
    manifest = with_file(exported.manifest, folder, CARD_FILE)
    write_manifest(folder, manifest)
    tools.console.note(f"{target.name}: {folder / CARD_FILE}")
    yield replace(exported, manifest=manifest)


def _sources(plan: Plan, target: Target, done: Results, tools: Tools) -> CardSources:
    """What a card says of the release as a whole, and of what was seen of its export."""
    noted = next(iter(done.of(Noted)), None)
    seen = recall(plan, target, done.for_target(Exported, target).manifest)
    web = repository_page(plan.config, tools.repository)
    before = noted.before.get(target.repo_id) if noted else None
    return CardSources(
        notes=noted.text if noted else None,
        before=(noted.since.name, before) if noted and noted.since and before else None,
        web=web,
        commit_url=commit_link(web, plan.commit.sha) if web else None,
        example=seen.example,
        unlike=seen.unlike,
        sizes=dict(_sizes(plan)),
    )


def _sizes(plan: Plan) -> Iterator[tuple[str, int]]:
    """The sizes of the release's exports that are here, by their repos."""
    for target in plan.family:
        with suppress(ReleaseError):
            files = read_manifest(target.export_dir).files
            yield target.repo_id, sum(entry.size for entry in files if entry.path != CARD_FILE)


def unless_versioned(plan: Plan) -> str | None:
    if plan.stream is None:
        return "no version"
    return None if plan.config.card.notes else "[card] notes is off"
