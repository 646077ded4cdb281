"""A release whose units are done by engines: the same bytes as on one machine, whoever dies meanwhile."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub

from tests.end_to_end.conftest import Project

MakeProject = Callable[[], Project]
LEASHED = "tagship.cli.leashed"


def _tagged(project: Project) -> Project:
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: learns a field")
    return project


def _published(project: Project) -> dict[str, dict[str, Any]]:
    """Every file of every repo on the project's Hub, by its hash there."""
    with EmbeddedHub(root=project.folder / ".tagship/hub") as hub:
        api = HfApi(endpoint=hub.url, token=False)
        return {
            model.id: {item.path: item.blob_id for item in api.list_repo_tree(model.id, recursive=True)}
            for model in api.list_models()
        }


@pytest.fixture(scope="module")
def on_one_machine(make_project: MakeProject) -> dict[str, dict[str, Any]]:
    """What a release on one machine publishes."""
    project = _tagged(make_project())
    done = project.invoke("release")
    assert done.code == 0, done.stderr
    return _published(project)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--on", "rai"], "there is no engine 'rai'"),
        (["--to-hub"], "--to-hub is for releases on several machines"),
        (["--on", "here", "--results", "s3://bucket/a"], "--results is for releases on several machines"),
        (["--on", "submitit", "--results", "nosuch://a"], "no file system is known for nosuch://"),
    ],
)
def test_refused(make_project: MakeProject, options: list[str], told: str) -> None:
    """What cannot be is refused before anything is written, with exit code 2."""
    project = _tagged(make_project())
    before = project.files()
    done = project.invoke("release", *options)
    assert done.code == 2 and told in done.stderr
    assert project.files() == before


def test_uncommitted_changes(make_project: MakeProject) -> None:
    """What other machines would not have is refused by name; the policy may choose the engine."""
    project = make_project()
    project.replace("release.toml", "[verify]\n", '[fleet]\nengine = "submitit"\n\n[verify]\n')
    done = project.invoke("release", "--untagged", "--format", "lora")
    assert done.code == 1 and "the working tree is not what" in done.stderr and "release.toml" in done.stderr


@pytest.mark.long
def test_processes_of_this_machine(make_project: MakeProject, on_one_machine: dict[str, dict[str, Any]]) -> None:
    """By submitit's local executor, one after another, with one of the units killed while it works: it is done again,
    and what is published is what one machine publishes. The same command again does nothing twice."""
    pytest.importorskip("submitit")
    project = _tagged(make_project())
    running = _started(project, "--on", "submitit")
    _leashed_below(running.pid).kill()
    at_once = set()
    while running.poll() is None:
        at_once.add(len(_units_below({running.pid})))
        time.sleep(0.2)
    said = running.communicate()[1]
    assert running.returncode == 0, said
    assert said.count("(it is done again)") == 1 and max(at_once) == 1
    assert _published(project) == on_one_machine
    again = project.invoke("release", "--on", "submitit", "--json")
    assert again.code == 0, again.stderr
    assert all(unit["done_before"] for unit in again.document["fleet"]["units"])
    assert _published(project) == on_one_machine
    assert not list((project.folder / "results").glob(".seen-*"))


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize(
    ("number", "told", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
@pytest.mark.long
def test_ended(make_project: MakeProject, number: signal.Signals, told: str, code: int) -> None:
    """Ctrl-C, which a terminal sends to all that runs there, and SIGTERM end the units that are being done, and one
    line says so; what was whole is kept, and the same command goes on with the rest."""
    pytest.importorskip("submitit")
    project = _tagged(make_project())
    options = ("--format", "lora", "--format", "vllm", "--on", "submitit")
    running = _started(project, *options)
    started = psutil.Process(running.pid)
    while not list((project.folder / "results/units").glob("[!.]*/result.json")):
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.1)
    _leashed_below(running.pid)
    below = started.children(recursive=True)
    if number == signal.SIGINT:
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code, said
    assert not psutil.wait_procs(below, timeout=10)[1]
    assert "Traceback" not in said, said
    lines = [line.strip() for line in said.strip().splitlines()]
    assert lines[-2:] == [f"error: {told}", "remedy: the same command goes on where this one stopped"], said
    again = project.invoke("release", *options, "--json")
    assert again.code == 0, again.stderr
    assert sorted(unit["done_before"] for unit in again.document["fleet"]["units"]) == [False, True]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of a head that does nothing and two nodes of one core, all on this machine."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 << 20, resources={"disk": 10})
    yield made
    made.shutdown()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_node_that_dies(make_project: MakeProject, on_one_machine: dict[str, dict[str, Any]], cluster: Any) -> None:
    """On a Ray cluster of which a node is killed while it does a unit: that unit is done again elsewhere, nobody is
    left at work on the node, and what is published is what one machine publishes."""
    project = _tagged(make_project())
    running = _started(project, "--on", "ray", RAY_ADDRESS=cluster.address)
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    at_work = _leashed_below(*raylets)
    (killed,) = [raylets[parent.pid] for parent in at_work.parents() if parent.pid in raylets]
    cluster.remove_node(killed, allow_graceful=False)
    _, said = running.communicate()
    assert running.returncode == 0, said
    assert "(it is done again)" in said and "was lost" in said
    at_work.wait(timeout=10)
    assert _published(project) == on_one_machine


def _started(project: Project, *options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        project.command("release", *options),
        cwd=project.folder,
        env={**project.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def _units_below(pids: set[int]) -> list[psutil.Process]:
    """The processes that do units, below one of these."""
    found = []
    for process in psutil.process_iter():
        try:
            parents = process.parents()
            # What a unit starts has its command line, too, until that is a program of its own.
            if LEASHED in process.cmdline() and LEASHED not in parents[0].cmdline():
                found += [process] if {parent.pid for parent in parents} & pids else []
        except (psutil.Error, IndexError):
            continue
    return found


def _leashed_below(*pids: int) -> psutil.Process:
    """A process that does a unit, below one of these, which has begun to export."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in _units_below(set(pids)):
            with suppress(psutil.Error):
                if list(Path(process.cwd()).glob("exports/*")):
                    return process
        time.sleep(0.1)
    raise AssertionError("nobody began a unit")
