"""The steps that say what a release is: its notes, and the card of each export."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from msgspec.structs import replace

from tagship.artifacts.card import CardSources, render_card
from tagship.artifacts.card_metadata import front_matter
from tagship.artifacts.manifest import (
    BILL_FILE,
    CARD_FILE,
    PLOT_FILE,
    Manifest,
    with_file,
    without_file,
    write_manifest,
)
from tagship.artifacts.quality_plot import Point, plot
from tagship.history.notes import CARD_NOTES, make_notes, render_notes
from tagship.history.web_links import commit_link
from tagship.hub_server.cards import BadCard, check
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.release_notes import unreleased_in
from tagship.release.results import Exported, Fetched, Noted, Results, Sized
from tagship.release.seal_checks import seals_of
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.release.version_before import named_otherwise, page_before
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.files import write_text
from tagship.system.templating import Templates
from tagship.verify.evidence import Measured


def check_cards(plan: Plan, base: BaseFolder, templates: Templates) -> None:
    """Raise ReleaseError when the Hub would refuse a card for what its front matter says, that of a base model that is
    published with the release too."""
    readme = base.path / CARD_FILE
    if plan.base.publish and readme.is_file():
        try:
            check(readme.read_text(encoding="utf-8", errors="replace"))
        except BadCard as error:
            raise ReleaseError(
                f"the Hub would refuse the base model's own card, {readme}: {error}", remedy="correct its metadata"
            ) from None
    for target in plan.targets:
        front_matter(job_of(plan, target, base, templates), target.policy.format.card, plan.config.card)


def take_notes(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    assert plan.tag is not None
    unreleased = unreleased_in(plan, tools.repository)
    notes = make_notes(unreleased, plan.version_tag, plan.tag.commit.time)  # without links, which clones differ in
    since = unreleased.since.name if unreleased.since else "the beginning"
    number = unreleased.commits
    tools.console.note(f"{number} {'commit' if number == 1 else 'commits'} since {since}")
    # Nobody who uses a first version asks what is new in it.
    text = render_notes(notes, tools.templates, CARD_NOTES) if unreleased.since else ""
    yield Noted(
        text=text,
        since=unreleased.since,
        same_model=notes.same_model,
        named_otherwise=named_otherwise(plan, tools.repository, unreleased.since),
    )


def describe(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    exported = done.for_target(Exported, target)
    folder = exported.folder
    (folder / BILL_FILE).unlink(missing_ok=True)  # of an earlier command; another one says what this finds
    manifest = without_file(_with_plot(plan, target, done), BILL_FILE)
    job = job_of(plan, target, done.one(Fetched).base, tools.templates)
    card = render_card(target.policy.format, job, manifest, plan.config, sources_of(plan, target, done, tools))
    write_text(folder / CARD_FILE, card)
    manifest = with_file(manifest, folder, CARD_FILE)
    write_manifest(folder, manifest)
    tools.console.note(f"{target.name}: {CARD_FILE}")
    yield replace(exported, manifest=manifest)


def _with_plot(plan: Plan, target: Target, done: Results) -> Manifest:
    """The manifest of an export with a plot of its quantization type among those that are released with it; without one
    where it has none, or is alone."""
    exported = done.for_target(Exported, target)
    points = [
        Point(label=str(other.variant.quant), size=manifest.size, kl=measured.kl)
        for other, manifest, measured in _measured(plan, done)
        if other.variant.quant and other.policy.name == target.policy.name and other.run == target.run
    ]
    curve = _curve(exported.manifest, points)
    plotted = exported.folder / PLOT_FILE
    if (len(points) < 2 and not curve) or not points or target.variant.quant is None:
        plotted.unlink(missing_ok=True)
        return without_file(exported.manifest, PLOT_FILE)
    write_text(plotted, plot(points, title=f"Quantization types of {target.run.name}", curve=curve))
    return with_file(exported.manifest, exported.folder, PLOT_FILE)


def _curve(manifest: Manifest, points: Sequence[Point]) -> list[Point]:
    """What was predicted of mixes of about the sizes that are released, where an export is one that was found."""
    if manifest.mix is None or not points:
        return []
    least, most = (way(point.size for point in points) for way in (min, max))
    sizes = ((each, int(manifest.size * each["bits"] / manifest.mix["bits"])) for each in manifest.mix["curve"])
    return [
        Point(label="predicted of mixes", size=size, kl=each["predicted"])
        for each, size in sizes
        if 0.7 * least <= size <= 1.3 * most
    ]


def _measured(plan: Plan, done: Results) -> Iterator[tuple[Target, Manifest, Measured]]:
    """What was measured of each export, along the text where there was one."""
    for target in plan.targets:
        exported = done.find(Exported, target)
        shown = exported.manifest.shown() if exported else None
        if exported and shown and (measured := shown.text or shown.answers):
            yield target, exported.manifest, measured


def sources_of(plan: Plan, target: Target, done: Results, tools: Tools) -> CardSources:
    """What a card says of the release as a whole."""
    noted = next(iter(done.of(Noted)), None)
    web = plan.source
    return CardSources(
        notes=noted.text if noted else None,
        same_model=noted is not None and noted.same_model,
        before=page_before(target, noted),
        web=web,
        commit_url=commit_link(web, plan.commit.sha) if web else None,
        shown={target.name: measured for target, _, measured in _measured(plan, done)},
        sizes=sizes_of(plan, done, tools.templates),
        seals=seals_of(plan),
    )


def sizes_of(plan: Plan, done: Results, templates: Templates) -> dict[str, int]:
    """About how large the weights of the release's exports are, by their names: by headers, and what is asked for, so
    that each of them says the same, whichever are made by this command, and where. What only making it tells is left
    out."""
    if told := done.of(Sized):
        names = {target.name for target in plan.family}
        return {name: size for name, size in told[-1].sizes.items() if name in names}
    base, sizes = done.one(Fetched).base, {}
    for target in plan.family:
        with suppress(ReleaseError):
            job = replace(job_of(plan, target, base, templates), found=None)  # known where it is made again alone
            needs = target.policy.format.footprint(job)
            if not needs.at_most:
                sizes[target.name] = needs.disk
    return sizes


def unless_versioned(plan: Plan) -> str | None:
    if plan.stream is None:
        return "no version"
    return None if plan.config.card.notes else "[card] notes is off"
