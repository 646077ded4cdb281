"""Runtimes by name. Packages add their own through the entry point group `tagship.runtimes`."""

from collections.abc import Iterable
from pathlib import Path

from tagship.system.entry_points import names_of, own_names, value_of
from tagship.system.errors import ReleaseError
from tagship.verify.runtimes.protocol import Runtime

GROUP = "tagship.runtimes"


def find_runtime(name: str) -> Runtime:
    """The runtime of that name. Raises ReleaseError when there is none."""
    known = names_of(GROUP)
    if name not in known:
        raise ReleaseError(
            f"there is no runtime {name!r} to verify exports with; installed are {', '.join(known)}",
            remedy="install the package that brings it",
        )
    found: Runtime = value_of(GROUP, name, Runtime, ("name", "memory"))
    return found


def memory_to_compare(names: Iterable[str], weights: Path) -> int:
    """What it takes, in bytes, to run base + adapter and beside it an export by each of the runtimes of these names in
    turn, of a base with the weights in a folder. Raises ReleaseError."""
    reference = reference_runtime()
    # The same process has both, one after the other but for what is kept of the first.
    beside = [find_runtime(name).memory_for(weights) for name in names if name != reference.name]
    return reference.memory_for(weights) + max(beside, default=0)


def reference_runtime() -> Runtime:
    """The runtime that answers for base + adapter: of those that can, tagship's own, else the first by its name. Raises
    ReleaseError."""
    for name in dict.fromkeys((*own_names(GROUP), *names_of(GROUP))):
        if (runtime := find_runtime(name)).runs_adapters:
            return runtime
    raise ReleaseError("no runtime is installed that runs an adapter on its base model", remedy="reinstall tagship")
