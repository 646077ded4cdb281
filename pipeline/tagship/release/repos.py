"""What each repo gets of a release: an export as it is, or several that share it, with a card and a manifest of all."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from tagship.artifacts.card import CardPart, render_card
from tagship.artifacts.manifest import (
    BILL_FILE,
    CARD_FILE,
    MANIFEST_FILE,
    PLOT_FILE,
    FileEntry,
    Manifest,
    Part,
    file_entry,
    with_evidence,
    write_manifest,
)
from tagship.hub.branches import Version
from tagship.release.describing import sources_of
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.results import Exported, Fetched, Laid, Results, Sealed
from tagship.release.step import Tools
from tagship.release.targets import Target, by_repo
from tagship.system.called import called
from tagship.system.errors import ReleaseError
from tagship.system.files import write_text


def unless_shared(plan: Plan) -> str | None:
    if any(len(sharing) > 1 for sharing in by_repo(plan.targets).values()):
        return None
    return "each export has a repo of its own"


def check_whole(plan: Plan) -> None:
    """Raise ReleaseError when a version would be published without exports that the policy has in the same repo: nobody
    could add them later, as a published version is never changed."""
    whole = by_repo(plan.family)
    for repo_id, sharing in by_repo(plan.targets).items():
        names = [target.name for target in sharing]
        wanted = [target.name for target in whole.get(repo_id, sharing)]
        if sorted(names) == sorted(wanted):
            continue
        left_out = [name for name in wanted if name not in names]
        table = f"[formats.{sharing[0].policy.name}]"
        why = f"without {', '.join(left_out)}" if left_out else f"with {', '.join(set(names) - set(wanted))}"
        raise ReleaseError(
            f"{repo_id} has {', '.join(wanted)} of each version, and would get {plan.version} {why}",
            remedy=f"leave --quant and --path out, or change {table} quants; {called()} export and verify take one "
            "alone, --repo-name publishes it to another repo",
        )


def lay_out(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    """What the exports of one repo are together. Raises ReleaseError where two of them have a file of the same name
    that is not the same."""
    if len(targets) == 1:
        return
    parts, elsewhere = _parts(targets, done)
    folder = _folder(plan, targets[0].repo_id)
    first = done.for_target(Exported, targets[0]).manifest
    common = [entry for entry in first.files if entry.path == PLOT_FILE]
    elsewhere |= {PLOT_FILE: done.for_target(Exported, targets[0]).folder / PLOT_FILE} if common else {}
    manifest = replace(
        first,
        quant=None,
        evidence=None,
        tensors={},
        mix=None,
        files=_sorted([*common, *(entry for part in parts for entry in part.files)]),
        parts=tuple(
            Part(quant=part.quant, files=part.files, evidence=part.evidence, tensors=part.tensors, mix=part.mix)
            for part in parts
        ),
    )
    write_text(folder / CARD_FILE, _card(plan, targets, parts, manifest, done, tools))
    manifest = replace(manifest, files=_sorted([*manifest.files, file_entry(folder, CARD_FILE)]))
    write_manifest(folder, manifest)
    tools.console.note(f"{targets[0].repo_id}: {', '.join(target.name for target in targets)}; {folder / CARD_FILE}")
    yield Laid(
        repo_id=targets[0].repo_id,
        targets=tuple(targets),
        folder=folder,
        files=(*manifest.files, file_entry(folder, MANIFEST_FILE)),
        parts=parts,
        elsewhere=elsewhere,
    )


def laid(targets: Sequence[Target], done: Results) -> Laid:
    """What the repo of these targets gets: the export as it is, where there is but one; and what seals it."""
    repo_id = targets[0].repo_id
    contents = done.for_repo(Laid, repo_id) if len(targets) > 1 else _alone(targets, done)
    seals = [entry for sealed in done.of(Sealed) if sealed.repo_id == repo_id for entry in sealed.files]
    return replace(contents, files=(*contents.files, *seals))


def _alone(targets: Sequence[Target], done: Results) -> Laid:
    exported = done.for_target(Exported, targets[0])
    return Laid(
        repo_id=targets[0].repo_id,
        targets=tuple(targets),
        folder=exported.folder,
        files=(*exported.manifest.files, file_entry(exported.folder, MANIFEST_FILE)),
        parts=(exported.manifest,),
    )


def version_of(plan: Plan) -> Version | None:
    """What is released, where repos have several versions."""
    if not (plan.config.tags_versions and plan.version_tag):
        return None
    return Version(tag=plan.version_tag.name, number=plan.version_tag.version)


def _folder(plan: Plan, repo_id: str) -> Path:
    """Where the files of a shared repo are that no export has."""
    folder = plan.config.state / "repos" / repo_id.replace("/", "--")  # which no name on the Hub has
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parts(targets: Sequence[Target], done: Results) -> tuple[tuple[Manifest, ...], dict[str, Path]]:
    """The exports' manifests with their files as the repo calls them, and where each file is."""
    exports = [(target, done.for_target(Exported, target)) for target in targets]
    digests: dict[str, set[str]] = defaultdict(set)
    for _, exported in exports:
        for entry in _own_files(exported.manifest):
            digests[entry.path].add(entry.sha256)
    parts, places, taken = [], dict[str, Path](), dict[str, str]()
    for target, exported in exports:
        files = []
        for entry in _own_files(exported.manifest):
            name = _name(target, entry, digests)
            if taken.setdefault(name, entry.sha256) != entry.sha256:
                raise ReleaseError(
                    f"{target.repo_id} cannot have all of {', '.join(each.name for each in targets)}: {name} is "
                    "another file in each of them",
                    remedy=f"say together = false in [formats.{target.policy.name}]",
                )
            places[name] = exported.folder / entry.path
            files.append(replace(entry, path=name))
        parts.append(_renamed(exported.manifest, files))
    return tuple(parts), places


def _own_files(manifest: Manifest) -> Iterator[FileEntry]:
    """What was exported, without what describes it."""
    return (entry for entry in manifest.files if entry.path not in (CARD_FILE, PLOT_FILE, BILL_FILE))


def _name(target: Target, entry: FileEntry, digests: Mapping[str, set[str]]) -> str:
    if len(digests[entry.path]) == 1:
        return entry.path
    return target.policy.format.shared_path(target.variant, entry.path)


def _renamed(manifest: Manifest, files: Sequence[FileEntry]) -> Manifest:
    """An export's manifest with its files under other names: what was shown of them was shown of the same bytes."""
    shown = manifest.shown()
    renamed = replace(manifest, files=_sorted(files), evidence=None)
    return with_evidence(renamed, shown) if shown else renamed


def _sorted(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted({entry.path: entry for entry in files}.values(), key=lambda entry: entry.path))


def _card(
    plan: Plan, targets: Sequence[Target], parts: Sequence[Manifest], manifest: Manifest, done: Results, tools: Tools
) -> str:
    base = done.one(Fetched).base
    jobs = [job_of(plan, target, base, tools.templates) for target in targets]
    form, own = targets[0].policy.format, targets[0].repo_id
    lineage = jobs[0].lineage
    others = tuple(relative for relative in lineage.relatives if relative.repo_id != own)
    described = tuple(
        CardPart(
            manifest=part,
            serves=form.serves(target.variant),
            use_line=form.use_line(job, [entry.path for entry in part.files]),
        )
        for target, job, part in zip(targets, jobs, parts, strict=True)
    )
    sources = replace(sources_of(plan, targets[0], done, tools), parts=described)
    job = replace(jobs[0], lineage=replace(lineage, relatives=others))
    return render_card(form, job, manifest, plan.config, sources)
