"""Units as jobs of SLURM, by submitit; or as processes of this machine, by its local executor."""

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import BoundedSemaphore, Event, Lock
from typing import Any

from tagship.fleet.away import UnitDone, do_away
from tagship.fleet.engine import Needs, Task
from tagship.release.planned import Unit
from tagship.system.ending import deaf_to_interrupts, kill_with_children
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import scratch_folder
from tagship.system.installation import how_to_install
from tagship.system.machine import available_memory
from tagship.system.pool import cores

_MEGABYTE = 1e6
# Minutes that a job may take where SLURM has to be told; and those of the local executor.
_MINUTES = 24 * 60
# Seconds between two looks at a job, as submitit itself has them.
_PAUSE = 1.0


class SubmititEngine:
    """Jobs that are given to a cluster through files in a folder, which all of its machines have to see."""

    def __init__(self, task: Task, executor: Any) -> None:
        self._task, self._executor = task, executor
        self._lock = Lock()
        self._running: dict[int, Any] = {}
        # A cluster queues by itself; the local executor begins whatever it is given.
        self._room: AbstractContextManager[Any] = nullcontext()
        self._local = executor.cluster == "local"
        if self._local:
            self._room = BoundedSemaphore(units_at_once(task, cores(), available_memory()))
        self._stopped = Event()

    def do(self, unit: Unit, needs: Needs) -> UnitDone:
        with self._room:
            return self._do(unit, needs)

    def _do(self, unit: Unit, needs: Needs) -> UnitDone:
        job = None
        try:
            with self._lock:  # what is asked of the executor is its own until the job is submitted
                if self._stopped.is_set():
                    raise ToolError(f"{unit.name} was not begun: the release is ended")
                self._executor.update_parameters(**self._parameters(needs))
                with deaf_to_interrupts():  # a process of this machine is ended by `stop`, and says nothing of it
                    job = self._running[unit.index] = self._executor.submit(do_away, self._task.shipment, unit.index)
            while not job.done():
                if self._stopped.wait(_PAUSE):
                    raise ToolError(f"{unit.name} was ended")
            done: UnitDone = job.result()
        except ToolError:
            raise
        except Exception as error:  # of submitit: it was refused, cancelled, killed, or left nothing
            said = f"{type(error).__name__}: {str(error).strip().rpartition(chr(10))[2]:.300}"
            remedy = f"see what it printed: {job.paths.stderr}" if job else None
            raise ToolError(f"the job of {unit.name} was lost: {said}", remedy=remedy) from error
        finally:
            with self._lock:
                self._running.pop(unit.index, None)
        return done

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            for job in self._running.values():
                self._cancel(job)

    def _cancel(self, job: Any) -> None:
        if self._local:
            # Its id is that of a process; `cancel` would have it print where it was interrupted, to our own output.
            kill_with_children(int(job.job_id))
            return
        try:
            job.cancel()
        except (OSError, subprocess.CalledProcessError) as error:  # one that cannot be ended keeps no other from it
            self._task.console.warn(f"the job {job.job_id} goes on: {error}", f"scancel {job.job_id}")

    def _parameters(self, needs: Needs) -> dict[str, Any]:
        cores = self._task.policy.cores
        asked: dict[str, Any] = (
            {"timeout_min": _MINUTES, "cpus_per_task": cores} if cores else {"timeout_min": _MINUTES}
        )
        if needs.memory and self._executor.cluster == "slurm":
            asked["slurm_mem"] = f"{int(needs.memory / _MEGABYTE) + 1}M"
        return asked


def units_at_once(task: Task, processors: int, memory: int) -> int:
    """How many units a machine of so many processors and bytes of memory does at a time: one that has it to itself,
    unless the policy says how many cores each gets, and no more than the largest leaves memory for."""
    largest = max((needs.memory or 0 for needs in task.needs), default=0)
    by_memory = memory // largest if largest else processors
    return max(1, min(processors // (task.policy.cores or processors), by_memory))


@contextmanager
def open_submitit(task: Task, on: str) -> Iterator[SubmititEngine]:
    """Open SLURM (`slurm`), or processes of this machine (`submitit`). Raises ReleaseError where submitit or SLURM is
    not here."""
    try:
        import submitit
    except ImportError:
        raise ReleaseError(
            f"submitit is not installed, which --on {on} needs", remedy=how_to_install("fleet")
        ) from None
    with scratch_folder("tagship-jobs", task.scratch) as folder:
        try:
            executor = submitit.AutoExecutor(folder, cluster="slurm" if on == "slurm" else "local")
        except (RuntimeError, ValueError) as error:
            raise ReleaseError(f"submitit cannot use {on}: {error}", remedy="is sbatch on this machine?") from error
        yield SubmititEngine(task, executor)
