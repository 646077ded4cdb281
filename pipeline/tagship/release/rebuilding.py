"""A published release, exported and described once more: what its repo would get, made from what its manifest names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.manifest import BILL_FILE, CARD_FILE, Manifest, tool_version, with_evidence, without_file
from tagship.naming.tags import EXPORT, PUBLISH
from tagship.policy.sign import SignPolicy
from tagship.release import gates, steps
from tagship.release.describing import describe, take_notes, unless_versioned
from tagship.release.jobs import tools_of
from tagship.release.plan import Plan
from tagship.release.repos import laid, lay_out
from tagship.release.results import Exported, Laid, Results
from tagship.release.runner import run_steps
from tagship.release.sealing import seal
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.system.errors import ReleaseError
from tagship.system.machine import free_disk
from tagship.system.templating import human_size


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What a repo would get, file by file, and why the card is not to be compared, where it could not be made."""

    laid: Laid
    without_card: str | None = None

    def path(self, name: str) -> Path:
        """Where a file of it is."""
        return self.laid.elsewhere.get(name, self.laid.folder / name)

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file by its name."""
        return {entry.path: entry.sha256 for entry in self.laid.files}


def other_tools(manifest: Manifest, plan: Plan) -> list[str]:
    """What of the tools that made a release's files has another version here, in sentences."""
    here = {"tagship": tool_version(), **tools_of(plan.targets[0].policy.format.modules)}
    then = {"tagship": manifest.tagship, **manifest.tools}
    return [
        f"{name} was {then.get(name, 'not among the tools')}, and here is {here.get(name, 'not among them')}"
        for name in sorted(then.keys() | here.keys())
        if then.get(name) != here.get(name)
    ]


def check_room_for(manifest: Manifest, scratch: Path) -> None:
    """Raise ReleaseError where the disk of a folder has no room for a release's files."""
    if (free := free_disk(scratch)) < manifest.size:
        raise ReleaseError(
            f"making it again needs {human_size(manifest.size)} in {scratch.parent}, which has {human_size(free)} free",
            remedy="name a folder on a larger disk: TMPDIR=/folder",
        )


def rebuild(plan: Plan, manifest: Manifest, siblings: Sequence[Manifest], tools: Tools) -> Rebuilt:
    """Export once more what a manifest describes, and write its card and release.json from what verifying showed then;
    `siblings` are the manifests of the release's other repos. Nothing is verified. Raises ReleaseError."""
    gates.check_modules(plan.targets, verifies=False)
    done = run_steps(steps.as_task(steps.BASE, steps.FIT, steps.EXPORT), plan, tools).results
    done = done.plus(_shown_then(plan, manifest, done))
    without_card = None
    if unless_versioned(plan) is None:
        try:
            done = done.plus(take_notes(plan, done, tools))
        except ReleaseError as error:  # a clone without all of the history
            without_card = str(error)
    published = next((entry.sha256 for entry in manifest.files if entry.path == CARD_FILE), None)
    # A release of some formats is described before the others are made.
    attempts = [tuple(siblings)] + [()] * bool(siblings)
    made = None
    for others in (*attempts, attempts[0]):
        made = _described(plan, others, done, tools)
        if published in (None, *(entry.sha256 for entry in made.files if entry.path == CARD_FILE)):
            break
    assert made is not None
    return Rebuilt(laid=made, without_card=without_card)


def _shown_then(plan: Plan, manifest: Manifest, done: Results) -> Iterator[Exported]:
    """The exports with the evidence that was recorded of them."""
    for target in plan.targets:
        then = next(each for each in manifest.each() if each.quant == target.variant.quant)
        exported = done.for_target(Exported, target)
        shown = with_evidence(exported.manifest, then.evidence) if then.evidence else exported.manifest
        yield replace(exported, manifest=shown)


def _described(plan: Plan, siblings: Sequence[Manifest], done: Results, tools: Tools) -> Laid:
    """What the repo gets, with a card that says of its siblings what was shown of them."""
    others = list(_as_targets(plan, siblings))
    # As one that publishes: its cards say what a repo gets.
    whole = replace(plan, does=(EXPORT, PUBLISH), targets=(*plan.targets, *(each.target for each in others)))
    done = done.plus(others)
    for target in plan.targets:
        done = done.plus(describe(whole, target, done, tools))
    done = done.plus(lay_out(whole, plan.targets, done, tools))
    if plan.config.publish.sbom:  # which release.json lists; what seals that is for others to make
        unsigned = replace(plan.config, sign=SignPolicy(), publish=replace(plan.config.publish, provenance=False))
        done = done.plus(seal(replace(whole, config=unsigned), plan.targets, done, tools))
    return laid(plan.targets, done)


def _as_targets(plan: Plan, siblings: Sequence[Manifest]) -> Iterator[Exported]:
    known: dict[tuple[str, str | None], Target] = {
        (target.policy.name, target.variant.quant): target for target in plan.family if target not in plan.targets
    }
    for each in (export for sibling in siblings for export in sibling.each()):
        if (target := known.get((each.format, each.quant))) is not None:
            described = without_file(each, BILL_FILE)  # cards were written before
            yield Exported(target=target, folder=target.export_dir, manifest=described)
