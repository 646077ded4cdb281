"""Units as tasks of a Ray cluster, which chooses machines by the memory, the cores and the disk that they have left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from tagship.fleet.away import UnitDone, do_away
from tagship.fleet.engine import Needs, Task
from tagship.release.planned import Unit
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.installation import how_to_install
from tagship.system.templating import human_size

# The resource that a node's disk is told by: ray start --resources '{"disk": 500}', in gigabytes.
_DISK, _GIGABYTE = "disk", 1e9


class RayEngine:
    """A cluster that this process is connected to."""

    def __init__(self, task: Task) -> None:
        import ray

        self._nodes: list[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._task = task
        self._cores = task.policy.cores or _smallest(self._nodes)
        self._knows_disks = any(_DISK in node for node in self._nodes)
        if not self._knows_disks and any(needs.disk for needs in task.needs):
            task.console.note("no node says what disk it has (ray start --resources '{\"disk\": 500}', in GB)")
        for needs in task.needs:
            self._check_fits(needs)
        self._shipment = ray.put(task.shipment)  # once; each node fetches it once
        # Not again by Ray, which says nothing of it: who supervises does it again, and says so.
        self._remote = ray.remote(max_retries=0, num_cpus=self._cores)(do_away)
        self._lock = Lock()
        self._running: set[Any] = set()
        self._stopped = False

    def do(self, unit: Unit, needs: Needs) -> UnitDone:
        import ray
        from ray.exceptions import RayError, RayTaskError

        with self._lock:
            if self._stopped:
                raise ToolError(f"{unit.name} was not begun: the release is ended")
            reference = self._remote.options(**self._options(unit, needs)).remote(self._shipment, unit.index)
            self._running.add(reference)
        try:
            done: UnitDone = ray.get(reference)
        except RayTaskError as error:  # what do_away itself does not tell is a bug, or a node without this tagship
            raise ToolError(
                f"Ray could not do it: {_last_line(error)}",
                remedy="install the same tagship on all nodes; see the logs of Ray there",
            ) from error
        except RayError as error:
            raise ToolError(
                f"its node or its process was lost: {type(error).__name__}: {_first_line(error)}",
                remedy="see the logs of Ray there: was its memory full, was the machine taken away?",
            ) from error
        finally:
            with self._lock:
                self._running.discard(reference)
        return done

    def stop(self) -> None:
        import ray

        with self._lock:
            self._stopped = True
            for reference in self._running:
                ray.cancel(reference, force=True)

    def _options(self, unit: Unit, needs: Needs) -> dict[str, Any]:
        options: dict[str, Any] = {"name": f"tagship {unit.name}"}
        if needs.memory:
            options["memory"] = needs.memory
        if needs.disk and self._knows_disks:
            options["resources"] = {_DISK: _gigabytes(needs.disk)}
        return options

    def _check_fits(self, needs: Needs) -> None:
        """Raise ReleaseError for what no node could ever do: Ray would wait for one without end."""
        disk = _gigabytes(needs.disk) if needs.disk and self._knows_disks else 0
        wanted = {"CPU": float(self._cores), "memory": float(needs.memory or 0), _DISK: disk}
        if any(all(node.get(name, 0) >= size for name, size in wanted.items()) for node in self._nodes):
            return
        told = f"{self._cores} cores, {human_size(needs.memory or 0)} of memory, {human_size(needs.disk or 0)} of disk"
        raise ReleaseError(
            f"no node of the Ray cluster is large enough for a unit, which takes {told}",
            remedy="add a larger node (ray start --num-cpus, --memory, --resources '{\"disk\": GB}'), or lower [fleet] "
            "cores",
        )


@contextmanager
def open_ray(task: Task, on: str) -> Iterator[RayEngine]:
    """Connect to the cluster of an address, or the one that Ray finds (RAY_ADDRESS, one that runs on this machine), or
    else to one that is started on this machine. Raises ReleaseError where ray is not installed, ToolError where there
    is no such cluster."""
    try:
        import ray
    except ImportError:
        raise ReleaseError("ray is not installed, which --on ray needs", remedy=how_to_install("fleet")) from None
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(address=on if "://" in on else None, logging_level="error", log_to_driver=False)
        except Exception as error:  # of gRPC, of Ray, of sockets
            raise ToolError(
                f"there is no Ray cluster at {on}: {_first_line(error)}",
                remedy="ray start --head starts one, ray://HOST:10001 is the address of its client's server; where it "
                "asks for a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as `ray get-auth-token` prints it there",
            ) from error
    try:
        yield RayEngine(task)
    finally:
        if began:
            ray.shutdown()


def _smallest(nodes: list[Mapping[str, float]]) -> int:
    """The cores of the smallest node: so a unit has a machine to itself, as it takes all of one."""
    return int(min((node["CPU"] for node in nodes if node.get("CPU", 0) >= 1), default=1))


def _gigabytes(size: int) -> float:
    return max(round(size / _GIGABYTE, 3), 0.001)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2].strip()[:300]
