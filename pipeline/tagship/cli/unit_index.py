"""Which unit of a plan a process is to do: as `--index` says, else as whoever started many of the same command tells
each of them."""

import os
from collections.abc import Callable

from msgspec import Struct

from tagship.system.errors import UsageError

_OPTION = "--index"
# The variable of each service, and what it calls the first one.
_COUNTED_FROM = {
    "JOB_COMPLETION_INDEX": 0,  # Kubernetes' indexed jobs
    "SLURM_ARRAY_TASK_ID": 0,  # as the array was given: --array=3,7 does units 3 and 7, whatever its least one is
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
    "CI_NODE_INDEX": 1,  # GitLab's `parallel: N`
}
INDEXES = tuple(_COUNTED_FROM)


class UnitIndex(Struct, frozen=True, kw_only=True):
    """The place of a unit in its plan, from 0 on, and what said so: `--index`, or a variable."""

    index: int
    said_by: str


def unit_index(given: str | None, environment: Callable[[str], str | None] = os.environ.get) -> UnitIndex:
    """Which unit is to be done. Raises UsageError where nothing says it, where it is no number, and where variables say
    different things, as in a job of one service that another one started."""
    if given:
        return UnitIndex(index=_number(_OPTION, given, first=0), said_by=_OPTION)
    set_here = {name: value for name in INDEXES if (value := environment(name))}
    said = {name: _number(name, value, first=_COUNTED_FROM[name]) for name, value in set_here.items()}
    if not said:
        raise UsageError("which unit?", remedy=f"{_OPTION} N, or one of {', '.join(INDEXES)} in the environment")
    if len(set(said.values())) > 1:
        told = " and ".join(f"{name} says unit {index}" for name, index in said.items())
        raise UsageError(f"which unit? {told}", remedy=f"say which one with {_OPTION} N")
    name, index = next(iter(said.items()))
    return UnitIndex(index=index, said_by=name)


def _number(name: str, value: str, *, first: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 10) or int(value) < first:
        raise UsageError(f"{name} must be the number of a unit, from {first} on, not {value!r:.100}")
    return int(value) - first
