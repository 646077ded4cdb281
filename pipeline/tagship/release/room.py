"""Room for a release: what its steps write and need, by headers alone, against what this machine has left."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from tagship.formats.protocol import Footprint
from tagship.release.plan import Plan
from tagship.release.results import Fitting
from tagship.release.step import (
    ARCHIVES,
    BASE_IN_STORE,
    BESIDE,
    EXPORTS,
    SHARED,
    STORE,
    Step,
    hub_root,
    verifies,
    written_by,
)
from tagship.release.targets import Target
from tagship.runs.base_files import base_files
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.files import size_of_leftovers
from tagship.system.machine import available_memory, device_of, free_disk
from tagship.system.templating import human_size
from tagship.verify.runtimes.registry import memory_to_compare


def check_download(size: int) -> None:
    """Raise ReleaseError when the Hub's cache has no room for the base model."""
    from huggingface_hub.constants import HF_HUB_CACHE

    check_room(Path(HF_HUB_CACHE), size, "fetching the base model")


def check_disk(
    plan: Plan,
    footprints: Sequence[tuple[Target, Footprint]],
    written: Sequence[str],
    base: BaseFolder | None = None,
) -> None:
    """Raise ReleaseError when a disk has less room than what is `written` there will take (release/step.py)."""
    needed: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    folders: dict[int, Path] = {}
    for what, folder, size in _sizes(plan, footprints, written, base):
        device = device_of(folder)
        needed[device][what] += size
        folders.setdefault(device, folder)
    for device, parts in needed.items():
        check_room(folders[device], sum(parts.values()), f"the release{_listed(parts)}")


def by_file_where_full(
    plan: Plan, fits: Sequence[Fitting], written: Sequence[str], base: BaseFolder | None = None
) -> list[Fitting]:
    """The same exports, those that can be sent file by file as that where the disk has no room for them whole."""
    try:
        check_disk(plan, [(fitting.target, fitting.footprint) for fitting in fits], written, base)
    except ReleaseError:
        if plan.config.verify.native:  # which has to have all of it
            raise
        return [_by_file(fitting) for fitting in fits]
    return list(fits)


def _by_file(fitting: Fitting) -> Fitting:
    largest = fitting.footprint.by_file
    if largest is None:
        return fitting
    return replace(fitting, footprint=replace(fitting.footprint, disk=largest), by_file=True)


def _sizes(
    plan: Plan, footprints: Sequence[tuple[Target, Footprint]], written: Sequence[str], base: BaseFolder | None
) -> Iterator[tuple[str, Path, int]]:
    """What is written, into which folder, and its bytes. Nothing of it shares blocks: archives are compressed, and what
    the embedded Hub keeps came through a client. What a killed run left is used again or removed."""
    store = hub_root(plan.config)
    for target, footprint in footprints:
        places = {EXPORTS: target.export_dir.parent, ARCHIVES: target.artifact.parent, STORE: store}
        yield from ((what, places[what], footprint.disk) for what in written if what in places)
    if BASE_IN_STORE in written and base is not None:
        yield BASE_IN_STORE, store, sum(path.stat().st_size for path in base_files(base).values())
    if BESIDE in written:
        most = {target.export_dir.parent: 0 for target, _ in footprints}
        for target, footprint in footprints:
            most[target.export_dir.parent] = max(most[target.export_dir.parent], footprint.beside)
        yield from ((BESIDE, folder, size) for folder, size in most.items() if size)
    if SHARED in written:  # of one run after another
        yield (
            SHARED,
            plan.config.state,
            max((part.disk for _, each in footprints for part in each.shared.values()), default=0),
        )
    if EXPORTS in written:
        for folder in {target.export_dir.parent for target, _ in footprints}:
            yield EXPORTS, folder, -size_of_leftovers(folder)


def _listed(parts: Mapping[str, int]) -> str:
    """` (exports 7.6 GB, archives 7.6 GB)`, where there are several."""
    told = ", ".join(f"{what} {human_size(max(0, size))}" for what, size in parts.items())
    return f" ({told})" if len(parts) > 1 else ""


def check_memory(footprints: Iterable[tuple[Target, Footprint]], weights: Path | None, *, native: bool = False) -> None:
    """Raise ReleaseError when an export needs more memory than there is, or comparing it with base + adapter, where
    `weights` is the folder of the base, also in `native` runtimes."""
    free = available_memory()
    needs = [(f"the {target.name} export", footprint.memory) for target, footprint in footprints]
    needs += [
        (f"making the {what}", part.memory) for _, footprint in footprints for what, part in footprint.shared.items()
    ]
    if weights:
        needs += [
            (f"comparing the {target.name} export", memory_to_compare(_runtimes(target, native), weights))
            for target, _ in footprints
        ]
    for what, size in needs:
        if size > free:
            raise ReleaseError(
                f"{what} needs {human_size(size)} of memory, and {human_size(free)} is available",
                remedy="close other programs, raise the limit, or use a larger machine",
            )


def _runtimes(target: Target, native: bool) -> tuple[str, ...]:
    return target.policy.format.runtimes(native=native)


def predicted(
    plan: Plan, footprints: Sequence[tuple[Target, Footprint]], steps: Sequence[Step], base: BaseFolder
) -> str:
    """What the steps of a task will need and what there is, in a line."""
    most = max(max(each.memory, *(part.memory for part in each.shared.values()), 0) for _, each in footprints)
    memory = f"{human_size(most)} of memory"
    if verifies(steps):
        runtimes = {_runtimes(target, bool(plan.config.verify.native)) for target, _ in footprints}
        memory += f", comparing {human_size(max(memory_to_compare(names, base.path) for names in runtimes))}"
    parts: dict[str, int] = defaultdict(int)
    for what, _, size in _sizes(plan, footprints, written_by(steps, plan), base):
        parts[what] += max(0, size)
    free = free_disk(footprints[0][0].export_dir)
    return (
        f"exporting takes up to {memory}, of {human_size(available_memory())}, and "
        f"{human_size(sum(parts.values()))} on the disk{_listed(parts)}, of {human_size(free)}"
    )


def check_room(folder: Path, size: int, what: str) -> None:
    """Raise ReleaseError when the disk of a folder has less room than `size` bytes."""
    free = free_disk(folder)
    if size > free:
        raise ReleaseError(
            f"{what} needs {human_size(size)} on the disk of {folder}, which has {human_size(free)} free",
            remedy="free some, or point [project] exports and artifacts, or HF_HOME, at another disk",
        )
