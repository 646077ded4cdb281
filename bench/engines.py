"""The engines that do units of a release, opened on this machine, with the projects and the Hub of the tests."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub import HfApi
from msgspec import Struct, field

from tests.end_to_end.conftest import Project
from tests.fleet.jobs_hub import JobsHub

WORK, RAY, SUBMITIT, HF_JOBS = "work", "ray", "submitit", "hf-jobs"
ENGINES = (WORK, RAY, SUBMITIT, HF_JOBS)
# What `release` shows of the process of a unit (tagship/fleet/away.py).
LEASHED = "tagship.cli.leashed"
_TOKEN, _RESULTS = "hf_writer", "acme/results"
_STORE = 80 << 20
# A node gives up after seconds that a machine which others use does not have for it.
_PATIENT = {"RAY_raylet_start_wait_time_s": "600", "RAY_agent_register_timeout_ms": "600000"}


class Opened(Struct, frozen=True, kw_only=True):
    """An engine: what `release` is called with, and the processes beside the release's own that units are started by.
    Jobs of Hugging Face have a Hub, which they publish to, too; the others publish to the one of their project."""

    name: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[psutil.Process, ...] = ()
    hub: JobsHub | None = None

    def prepare(self, project: Project) -> None:
        """Have a project that was not released, and is verified by little, and no results."""
        project.replace("release.toml", "max_tokens = 128", "max_tokens = 8")
        project.replace("release.toml", "[verify]\n", '[fleet]\ncores = 1\ninstall = "pip install it"\n\n[verify]\n')
        project.git("commit", "--quiet", "--all", "--message=feat: have jobs")
        if self.hub is not None:
            api = HfApi(endpoint=self.hub.url, token=_TOKEN)
            for model in api.list_models():
                api.delete_repo(model.id)
            api.delete_repo(_RESULTS, repo_type="dataset", missing_ok=True)
            api.create_repo(_RESULTS, repo_type="dataset", private=True)

    def published(self, project: Project) -> dict[str, dict[str, Any]]:
        """Every file of every repo of models, by its hash."""
        if self.hub is None:
            return project.published()
        api = HfApi(endpoint=self.hub.url, token=_TOKEN)
        return {
            model.id: {item.path: item.blob_id for item in api.list_repo_tree(model.id, recursive=True)}
            for model in api.list_models()
        }

    def results(self, project: Project) -> dict[str, Any]:
        """What tells each whole result from one that was made again, by the digest of its unit."""
        if self.hub is None:
            found = (project.folder / "results/units").glob("*/result.json")
            return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}
        api = HfApi(endpoint=self.hub.url, token=_TOKEN)
        tree = api.list_repo_tree(_RESULTS, repo_type="dataset", recursive=True, expand=True)
        indexes = [item for item in tree if item.path.startswith("units/") and item.path.endswith("/index.json")]
        return {item.path.split("/")[1]: getattr(item, "last_commit", None) for item in indexes}


@contextmanager
def opened(engine: str) -> Iterator[Opened]:
    """Open an engine; `work` is none, and needs nothing."""
    if engine == RAY:
        yield from _ray()
    elif engine == HF_JOBS:
        with tempfile.TemporaryDirectory(prefix="tagship-bench-") as folder, JobsHub(Path(folder), in_turn=True) as hub:
            environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": _TOKEN}
            options = ("--on", HF_JOBS, "--results", f"hf://datasets/{_RESULTS}")
            here = psutil.Process()
            yield Opened(name=engine, options=options, environment=environment, roots=(here,), hub=hub)
    else:
        yield Opened(name=engine, options=("--on", engine) if engine != WORK else ())


def _ray() -> Iterator[Opened]:
    """A head that does nothing, and two nodes of one core."""
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **_PATIENT}
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=_STORE, resources={"disk": 10}) for _ in range(2)]
        raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in nodes]
        environment = {"RAY_ADDRESS": cluster.address}
        yield Opened(name=RAY, options=("--on", RAY), environment=environment, roots=tuple(raylets))
    finally:
        cluster.shutdown()
