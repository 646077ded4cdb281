"""What a machine needs to do units of a release, packed into one value that any engine can carry there: the plan's
document, the repository at its commit, and the run's files, which that need not have. The base is found there, or
fetched.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tagship.release.plan import Plan
from tagship.release.remote_store import is_address
from tagship.system.files import files_below, scratch_folder
from tagship.system.git import Repository
from tagship.system.git_bundle import clone_bundle, make_bundle
from tagship.system.shown import masked


class Shipment(Struct, frozen=True, kw_only=True):
    """All of it can be pickled, and nothing of it is a secret. Paths are below the top of the repository, but for those
    of the machine that plans.

    `policy` is the path of release.toml, `document` the plan's text, `bundle` a git bundle of `commit`; `remote` is the
    name and the address of the remote that pages are told by. `files` are those that the commit need not have, by their
    paths; `seen` are folders that are too large to be shipped, and where machines that see this one's disks find them.
    `results` is where results go; where that is a folder, `mark` is a file in it, by which it is known again.
    """

    policy: str
    document: str
    commit: str
    bundle: bytes
    remote: tuple[str, str] | None
    files: dict[str, bytes]
    seen: dict[str, str]
    results: str
    mark: str | None
    to_hub: bool = False


class Packing(Struct, frozen=True, kw_only=True):
    """Of what a shipment is made: the plan of each run, their document, the files beside the runs that it was made
    from, and where results go."""

    plans: tuple[Plan, ...]
    document: str
    inputs: tuple[str, ...]
    results: str
    mark: Path | None
    to_hub: bool


def pack(packing: Packing, repository: Repository) -> Shipment:
    """Make a shipment. Raises ReleaseError for a clone without its whole history, OSError."""
    config = packing.plans[0].config
    url = repository.remote_url(config.versions.remote)
    with scratch_folder("tagship-bundle") as scratch:
        bundle = make_bundle(repository.folder, scratch / "bundle")
    top = repository.folder.resolve()
    beside = (config.root / name for name in packing.inputs)
    runs = (path for plan in packing.plans for path in files_below(plan.run.path))
    return Shipment(
        policy=repository.below_top(config.file),
        document=packing.document,
        commit=packing.plans[0].commit.sha,
        bundle=bundle,
        remote=(config.versions.remote, masked(url)) if url else None,
        files=dict(_contents(top, [config.file, *runs, *beside])),
        seen=dict(_seen(top, [plan.base.path for plan in packing.plans if plan.base.path])),
        results=packing.results if is_address(packing.results) else os.path.abspath(packing.results),
        mark=str(packing.mark) if packing.mark else None,
        to_hub=packing.to_hub,
    )


def _contents(top: Path, files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Those below the repository's top; others have to be where they are on each machine."""
    for path in files:
        if path.resolve().is_relative_to(top) and path.is_file():
            yield path.resolve().relative_to(top).as_posix(), path.read_bytes()


def _seen(top: Path, folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        if folder.resolve().is_relative_to(top):
            yield folder.resolve().relative_to(top).as_posix(), str(folder.resolve())


def unpack(shipment: Shipment, folder: Path) -> Path:
    """Make a clone in a folder, as it was on the machine that planned; returns the folder of release.toml in it. Raises
    ToolError with git's words, OSError."""
    bundle = folder.with_name(f"{folder.name}.bundle")
    bundle.write_bytes(shipment.bundle)
    clone_bundle(bundle, folder, shipment.commit, shipment.remote)
    bundle.unlink()
    added = [*_write_files(shipment, folder), *_link_seen(shipment, folder)]
    exclude = folder / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("".join(f"/{path}\n" for path in added), encoding="utf-8")
    return (folder / shipment.policy).parent


def _write_files(shipment: Shipment, folder: Path) -> Iterator[str]:
    """What the commit does not have, or has otherwise, as a pointer of git LFS is; returns the paths."""
    for path, content in shipment.files.items():
        target = folder / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            yield path


def _link_seen(shipment: Shipment, folder: Path) -> Iterator[str]:
    for path, there in shipment.seen.items():
        if not (folder / path).exists() and Path(there).is_dir():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(there)
            yield path
