"""Units as jobs of Hugging Face: each is one `run_job` of the Hub's client. What is shipped, and what comes back, is
where results are, in a repo of the Hub.
"""

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tagship.fleet.away import UnitDone
from tagship.fleet.carried import put_shipment, take_end
from tagship.fleet.engine import Needs, Task
from tagship.hub.connection import be_patient
from tagship.hub.failures import hub_errors
from tagship.policy.config import EMBEDDED
from tagship.release.planned import Unit
from tagship.release.remote_store import open_store
from tagship.setup.install_line import PLACEHOLDER, install_line
from tagship.system.errors import ReleaseError, ToolError, UsageError
from tagship.system.installation import installed_from

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NAME = "hf-jobs"
# Seconds between two questions after a job, and between those after all of them, as an account may ask a thousand in
# five minutes; lines of a job's log that are shown.
_PAUSE, _BETWEEN, _LINES = 5.0, 1.0, 20
# Torch without CUDA, unless the image has one.
_ENVIRONMENT = {"PIP_EXTRA_INDEX_URL": "https://download.pytorch.org/whl/cpu"}


class HfJobs:
    """Jobs in the namespace that the release is published to."""

    def __init__(self, task: Task, api: "HfApi", install: str) -> None:
        self._task, self._api, self._install = task, api, install
        self._store = open_store(task.shipment.results)
        self._shipped = put_shipment(self._store, task.shipment)
        self._lock = Lock()
        self._running: set[str] = set()
        self._stopped = Event()

    def do(self, unit: Unit, needs: Needs) -> UnitDone:
        end = f"{unit.digest}-{secrets.token_hex(4)}"
        if self._stopped.is_set():
            raise ToolError(f"{unit.name} was not begun: the release is ended")
        with hub_errors("start a job"):
            job = self._api.run_job(**self._asked(unit, end))
        with self._lock:
            self._running.add(job.id)
            if self._stopped.is_set():  # meanwhile
                self._cancel(job.id)
        self._task.console.note(f"{unit.index} {unit.name}: {job.url}")
        try:
            stage = self._wait(job.id)
        finally:
            with self._lock:
                self._running.discard(job.id)
        if done := take_end(self._store, end):
            return done
        raise ToolError(
            f"the job {job.id} ended with {stage} and left nothing: {' | '.join(self._log(job.id))}",
            remedy=f"see {job.url}; [fleet] flavor and timeout give it a larger machine, and longer",
        )

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            for job in self._running:
                self._cancel(job)

    def _cancel(self, job: str) -> None:
        try:
            with hub_errors("end a job"):
                self._api.cancel_job(job_id=job, namespace=self._task.namespace)
        except ToolError as error:
            self._task.console.warn(f"the job {job} goes on: {error}", error.remedy)

    def _asked(self, unit: Unit, end: str) -> dict[str, Any]:
        policy, token = self._task.policy, self._api.token
        shipment = self._task.shipment
        words = ["python", "-m", "tagship.fleet.job", shipment.results, self._shipped, str(unit.index), end]
        return {
            "image": policy.image,
            "command": ["bash", "-c", f"{self._install} && exec {shlex.join(words)}"],
            "env": {**_ENVIRONMENT, "HF_ENDPOINT": self._api.endpoint},
            "secrets": {"HF_TOKEN": token} if token else {},
            "flavor": policy.flavor,
            "timeout": policy.timeout,
            "name": f"tagship {unit.name}",
            "namespace": self._task.namespace,
        }

    def _wait(self, job: str) -> str:
        from huggingface_hub import JobStage

        ended = {JobStage.COMPLETED, JobStage.CANCELED, JobStage.ERROR, JobStage.DELETED}
        while True:
            with hub_errors("ask after a job"):
                status = self._api.inspect_job(job_id=job, namespace=self._task.namespace).status
            if status.stage in ended:
                return str(getattr(status.stage, "value", status.stage))
            if self._stopped.wait(max(_PAUSE, _BETWEEN * len(self._running))):
                raise ToolError(f"the job {job} was ended")

    def _log(self, job: str) -> list[str]:
        """The last lines of a job's log, as far as the Hub still has them."""
        with suppress(ToolError), hub_errors("read the log of a job"):
            return list(self._api.fetch_job_logs(job_id=job, namespace=self._task.namespace, tail=_LINES))[-_LINES:]
        return []


@contextmanager
def open_hf_jobs(task: Task, on: str) -> Iterator[HfJobs]:
    """Open the jobs of the Hub that the release is published to. Raises UsageError where results are not on it,
    ReleaseError without a token, and where no other machine could install this copy of tagship."""
    from huggingface_hub import HfApi

    if task.endpoint == EMBEDDED:
        raise UsageError("the embedded Hub has no jobs", remedy="--hub https://huggingface.co")
    if urlsplit(task.shipment.results).scheme != "hf":
        raise UsageError(
            "jobs of Hugging Face see no folder of this machine",
            remedy=f"--results hf://datasets/{task.namespace}/REPO, of a dataset that is private",
        )
    install = install_line(installed_from(), "gguf")
    if PLACEHOLDER in install.line and not task.policy.install:
        raise ReleaseError(
            f"a job could not install tagship: {install.to_do}",
            remedy='push that copy, or say how: [fleet] install = "pip install …"',
        )
    be_patient(task.console.note)
    api = HfApi(endpoint=task.endpoint)
    if not api.token:
        from huggingface_hub import get_token

        api = HfApi(endpoint=task.endpoint, token=get_token())
    if not api.token:
        raise ReleaseError("there is no token, which jobs need", remedy="hf auth login, or set HF_TOKEN")
    yield HfJobs(task, api, task.policy.install or install.line)
