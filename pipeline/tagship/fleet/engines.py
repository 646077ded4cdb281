"""Which engines there are, by what `--on` calls them. Their libraries are imported when one is opened."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tagship.fleet.engine import Engine, Task
from tagship.fleet.hf_jobs import NAME as HF_JOBS
from tagship.fleet.hf_jobs import open_hf_jobs
from tagship.fleet.ray_engine import open_ray
from tagship.fleet.submitit_engine import open_submitit
from tagship.policy.fleet import HERE
from tagship.system.errors import UsageError

Open = Callable[[Task, str], AbstractContextManager[Engine]]
_ENGINES: dict[str, Open] = {
    "ray": open_ray,
    "slurm": open_submitit,
    "submitit": open_submitit,
    HF_JOBS: open_hf_jobs,
}
# Those that may be given as an address, of which the name is the scheme.
_WITH_ADDRESS = {"ray"}


def find_engine(on: str) -> Open:
    """What opens the engine that `--on` or `[fleet] engine` names. Raises UsageError where there is none."""
    name, separator, place = on.partition("://")
    if name not in _ENGINES or (separator and (name not in _WITH_ADDRESS or not place)):
        raise UsageError(
            f"there is no engine {on!r}", remedy=f"--on {HERE}, ray, ray://HOST:PORT, slurm, submitit or {HF_JOBS}"
        )
    return _ENGINES[name]
