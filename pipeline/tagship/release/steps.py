"""A release, as the ordered tuple of its steps. This list is the table of contents of the program."""

from collections.abc import Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from tagship.artifacts.archive import record_checksum, write_archive
from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import MANIFEST_FILE, read_manifest
from tagship.formats.protocol import Footprint
from tagship.history.model_lookup import known_digests
from tagship.hub.base_repo import check_base
from tagship.hub.fetch import fetch_base, locate_base
from tagship.policy.versions import OFF
from tagship.release import gates
from tagship.release.announcing import announce, check_announcing, unless_announced
from tagship.release.by_file import export_and_send
from tagship.release.collecting import collect_repos, unless_collected
from tagship.release.describing import describe, take_notes, unless_versioned
from tagship.release.destinations import check_archive, check_base_is_there, check_local, check_repos
from tagship.release.evaluating import check_task_file, evaluate_trained, unless_evaluated
from tagship.release.export_store import check_identity, export_together
from tagship.release.fitting import fit
from tagship.release.jobs import job_to_export
from tagship.release.name_checks import check_names
from tagship.release.oci import check_registry, push_repo, unless_pushed
from tagship.release.plan import Plan
from tagship.release.publishing import (
    check_repo,
    lead_from_before,
    publish_base_model,
    publish_repo,
    send_export,
    send_the_rest,
    unless_base_is_published,
    unless_followed,
    unless_published,
)
from tagship.release.repos import lay_out, unless_shared
from tagship.release.results import (
    Exported,
    Fetched,
    Fitting,
    Packaged,
    Results,
    Sent,
)
from tagship.release.room import check_disk
from tagship.release.seal_checks import check_sealable
from tagship.release.sealing import seal, unless_sealed
from tagship.release.sharing import share_parts, shared_parts, unless_shared_parts
from tagship.release.step import (
    ARCHIVES,
    BASE_IN_STORE,
    BESIDE,
    EXPORTS,
    SENDS,
    SENDS_WHERE_FULL,
    SHARED,
    SHARES,
    STORE,
    Step,
    Tools,
    written_by,
)
from tagship.release.targets import Target
from tagship.release.verifying import answer_as_trained, examine_model, verify_export
from tagship.runs.base_folder import card_data_of, overruled_license
from tagship.system.secrets import check_no_secrets
from tagship.system.templating import human_size
from tagship.verify.runtimes.registry import reference_runtime


def _gates(plan: Plan, done: Results, tools: Tools, *, steps: Sequence[Step] = ()) -> Iterator[object]:
    names = {step.name for step in steps}
    if names & {"verify", "card"}:
        gates.check_formats(plan.targets, tools.templates)
    if names & {"verify", "export", "share"}:
        verify = plan.config.verify
        gates.check_modules(plan.targets, verifies="verify" in names, native=bool(verify.native))
        gates.check_tasks(plan.targets)
        gates.check_adapters(plan.targets)
        gates.check_text(plan)
    if "verify" in names:
        check_task_file(plan)
    for outcome in gates.check_tag(plan, tools.repository):
        tools.console.warn(f"{outcome.name}: {outcome.problem}", outcome.remedy)
    for problem, remedy in gates.warnings(plan, tools.repository) if "publish" in names else ():
        tools.console.warn(problem, remedy)
    check_names(plan)  # as far as it is known before the base model is fetched
    check_local(plan)
    gates.check_folders(plan)
    if SEAL.name in names and not unless_sealed(plan):
        check_sealable(plan)
    # Who does a unit alone needs no token, unless it sends something: those who gather ask.
    if plan.publishes and ("keep" not in names or SEND.name in names):
        check_repos(plan, tools.hub, exports_only="publish" not in names)
        if ANNOUNCE.name in names:
            check_announcing(plan)
            check_registry(plan)
        if finding := check_base_is_there(plan, tools.hub):
            tools.console.warn(finding.what, finding.remedy)
    return iter(())


def _base(plan: Plan, done: Results, tools: Tools, *, asks_hub: bool = True) -> Iterator[object]:
    located = locate_base(plan.base, tools.hub)
    gates.check_base(located)
    base = fetch_base(located, tools.console.bytes)
    tools.console.note(f"{base.id} in {base.path}" + (f", commit {base.revision}" if base.revision else ""))
    if plan.base.license and (own := overruled_license(plan.base.license, card_data_of(base.path))):
        tools.console.warn(
            f"the license of {base.id} is {own} by its own card, and is published as {plan.base.license}",
            f'leave license out of [bases."{base.id}"], unless that card is wrong',
        )
    if asks_hub and plan.publishes and plan.base.publish:
        check_base(tools.hub, base, known_digests(plan.config).of)
    yield Fetched(base=base)


def _names(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    exported = [each.folder for each in done.of(Exported)]
    for finding in check_names(plan, done.one(Fetched).base.path, exported):
        tools.console.warn(finding.sentence, finding.remedy)
    return iter(())


def export_targets(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    for _ in shared_parts(targets, plan, done, tools):  # made by SHARE, but for what another unit exports
        pass
    for target in targets:
        if done.for_target(Fitting, target).by_file:
            yield from export_and_send(plan, target, done, tools)
    targets = [target for target in targets if not done.for_target(Fitting, target).by_file]
    if not targets:
        return
    base = done.one(Fetched).base
    parts = [(target, job_to_export(plan, target, base, tools.templates)) for target in targets]
    work = sum(done.for_target(Fitting, target).footprint.work for target in targets)
    with tools.console.bytes(", ".join(target.name for target in targets), work) as advance:
        exported = export_together(plan, parts, advance)
    for target, made in zip(targets, exported, strict=True):
        if made.damage:
            tools.console.warn(made.damage, "it was made anew; if nobody changed it, look after the disk")
        size = human_size(sum(entry.size for entry in made.manifest.files))
        tools.console.note(f"{target.name}: {size}{'' if made.new else ', exported before'}")
        yield Exported(target=target, folder=target.export_dir, manifest=made.manifest)


def _load(
    plan: Plan, target: Target, done: Results, tools: Tools, *, hashes: bool = True, verifies: bool = False
) -> Iterator[object]:
    if verifies:
        for runtime in (reference_runtime().name, target.policy.format.runtime):
            tools.runtimes.start(runtime)
    manifest = read_manifest(target.export_dir)
    check_identity(plan, target, manifest)
    if verifies:
        tools.checks.add(target, manifest)  # verifying it waits for that
    else:
        with tools.console.bytes(target.name, sum(entry.size for entry in manifest.files)) as advance:
            check_files(target.export_dir, manifest, hashes=hashes, advance=advance)
        tools.console.note(f"{target.name}: as {MANIFEST_FILE} says")
    yield Exported(target=target, folder=target.export_dir, manifest=manifest)


def _package(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
    if done.find(Sent, target):
        tools.console.note(f"{target.name}: no archive, as its large files are on the Hub already")
        return
    check_archive(plan, target)
    exported = done.for_target(Exported, target)
    files = exported.manifest.files
    check_no_secrets({entry.path: exported.folder / entry.path for entry in files})
    digests = {entry.path: entry.sha256 for entry in files}
    with tools.console.bytes(target.name, sum(entry.size for entry in files)) as advance:
        archive = write_archive(exported.folder, target.artifact, plan.moment, advance, digests=digests)
    record_checksum(archive)
    tools.console.note(f"{target.name}: {human_size(archive.size)}")
    yield Packaged(target=target, archive=archive)


def _room(plan: Plan, done: Results, tools: Tools, *, steps: Sequence[Step] = ()) -> Iterator[object]:
    """Of exports that are there the sizes are known."""
    whole = [each for each in done.of(Exported) if done.find(Sent, each.target) is None]
    sizes = [(each.target, Footprint(disk=each.manifest.size, memory=0, work=0)) for each in whole]
    check_disk(plan, sizes, written_by(steps, plan))
    return iter(())


def _unless_names_are_checked(plan: Plan) -> str | None:
    return "[checks] names is off" if plan.config.checks.names == OFF else None


GATES = Step(name="gates", title="Gates", once=_gates)
NOTES = Step(name="notes", title="Release notes", once=take_notes, skip=unless_versioned)
BASE = Step(name="base", title="Base model", once=_base)
NAMES = Step(name="names", title="Names", once=_names, skip=_unless_names_are_checked)
FIT = Step(name="fit", title="Adapter, memory and disk", once=fit)
EXAMINE = Step(name="examine", title="The trained model", once=examine_model)
SHARE = Step(name=SHARES, title="What exports share", once=share_parts, skip=unless_shared_parts, writes=(SHARED,))
EXPORT = Step(name="export", title="Export", together=export_targets, portable=True, writes=(EXPORTS,))
LOAD = Step(name="load", title="Exports", each=_load)
ROOM = Step(name="room", title="Disk", once=_room)
REFERENCE = Step(name="reference", title="Answers of base + adapter", once=answer_as_trained)
TASK = Step(name="task", title="The task", once=evaluate_trained, skip=unless_evaluated)
VERIFY = Step(name="verify", title="Verify", each=verify_export, portable=True, goes_on=True, writes=(BESIDE,))
CARD = Step(name="card", title="Model cards", each=describe)
REPOS = Step(name="repos", title="Repos of several exports", of_repo=lay_out, skip=unless_shared)
PACKAGE = Step(name="package", title="Package", each=_package, portable=True, writes=(ARCHIVES,))
SEAL = Step(name="seal", title="Provenance and signature", of_repo=seal, skip=unless_sealed)
SEND = Step(name=SENDS, title="Large files, ahead of the commit", each=send_export, skip=unless_published)
SEND_WHERE_FULL = replace(SEND, name=SENDS_WHERE_FULL, each=send_the_rest)
PUBLISH_BASE = Step(
    name="publish_base",
    title="Publish the base model",
    once=publish_base_model,
    skip=unless_base_is_published,
    writes=(BASE_IN_STORE,),
)
PUBLISH = Step(name="publish", title="Publish", of_repo=publish_repo, skip=unless_published, writes=(STORE,))
PUSH = Step(name="push", title="Push to the registry", of_repo=push_repo, skip=unless_pushed)
CHECK = Step(name="check", title="Check what was published", of_repo=check_repo, skip=unless_published)

SUCCEED = Step(name="succeed", title="Lead from the version before", once=lead_from_before, skip=unless_followed)

COLLECT = Step(name="collect", title="The model's collection", once=collect_repos, skip=unless_collected)

ANNOUNCE = Step(name="announce", title="Announce", once=announce, skip=unless_announced)


def as_task(*steps: Step) -> tuple[Step, ...]:
    """The steps of a task, of which the gates know the others: they ask for what those need and write, and no more."""
    knowing = {GATES.name: _gates, FIT.name: fit, ROOM.name: _room}
    return tuple(
        replace(step, once=partial(knowing[step.name], steps=steps)) if step.name in knowing else step for step in steps
    )


RELEASE = as_task(
    GATES,  # tools, tag, tree, token: refuses before anything is written
    NOTES,  # what the version brings, for the card
    BASE,  # the base model on this disk, whole
    NAMES,  # what names say is so, by headers alone
    FIT,  # adapter and base fit each other; the release fits memory and disk
    EXAMINE,  # it can be run, in the class that it was trained in, and converted
    SHARE,  # an importance matrix, where types are weighed by one that is made here
    EXPORT,  # every format, under its final name when it is whole
    REFERENCE,  # what the trained model answers
    TASK,  # what it scores at the project's own task
    VERIFY,  # each export answers the same, or nothing goes on
    CARD,  # README.md, and the manifest of the finished folder
    REPOS,  # one card and one manifest of exports that share a repo
    SEAL,  # bill of materials, provenance, signature, where the policy asks for them
    PACKAGE,  # that folder as a reproducible archive
    PUBLISH_BASE,  # the base model, where the policy says so and it is not there
    PUBLISH,  # that folder as one commit on the Hub
    PUSH,  # the same files as an OCI artifact, whose digest the tag says
    CHECK,  # every checksum on the Hub, then the version's tag
    SUCCEED,  # the card of the version before leads to this one
    COLLECT,  # the model's collection on the Hub has it
    ANNOUNCE,  # where the project's people hear of it
)
# The tasks that do a part of it. Exporting alone needs no runtime, and no memory for one.
EXPORT_ONLY = as_task(GATES, BASE, NAMES, FIT, SHARE, EXPORT)
SHARE_ONLY = as_task(GATES, BASE, FIT, SHARE)
_BASE_HERE = replace(BASE, once=partial(_base, asks_hub=False))
_LOAD_TO_VERIFY = replace(LOAD, each=partial(_load, verifies=True))
VERIFY_ONLY = (_BASE_HERE, _LOAD_TO_VERIFY, REFERENCE, TASK, VERIFY)
CARD_ONLY = (NOTES, _BASE_HERE, LOAD, CARD, REPOS)
# Packing compares every digest itself, in the same pass.
PACKAGE_ONLY = as_task(replace(LOAD, each=partial(_load, hashes=False)), ROOM, PACKAGE)
# Nothing is published that was not verified.
PUBLISH_ONLY = as_task(
    GATES,
    NOTES,
    BASE,
    _LOAD_TO_VERIFY,
    ROOM,
    NAMES,
    REFERENCE,
    TASK,
    VERIFY,
    CARD,
    REPOS,
    SEAL,
    PUBLISH_BASE,
    PUBLISH,
    PUSH,
    CHECK,
    SUCCEED,
    COLLECT,
    ANNOUNCE,
)
