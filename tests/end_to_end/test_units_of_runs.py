"""Several runs that are released as one: planned together, done in units, published when all are done."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.conftest import NEWEST_RUN, Project

OTHER_RUN = "phi3avro-minimal-r8-a16-e4-20250913-091500"
BOTH = ("--run", NEWEST_RUN, "--run", OTHER_RUN, "--format", "lora")


@pytest.fixture(scope="module")
def tagged(make_project: Callable[[], Project]) -> Project:
    """A project whose names tell its runs apart."""
    project = make_project()
    names = '[naming.repo]\ntagged = "{base}-r{rank}-{label}-v{version}"\n\n[naming.bases]'
    project.replace("release.toml", "[naming.bases]", names)
    project.git("commit", "--quiet", "--all", "--message=chore: the rank in names")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: two ranks")
    return project


@pytest.mark.long
def test_runs_as_one(tagged: Project) -> None:
    """The units of all runs are numbered through; nothing of any is published before all are done, and what is then
    published is what a release of each has. Done again, it stays as it is."""
    planned = tagged.invoke("plan", *BOTH, "--json-file", ".tagship/plan.json")
    assert planned.code == 0, planned.stderr
    document = json.loads((tagged.folder / ".tagship/plan.json").read_text())
    assert [run["run"] for run in document["runs"]] == [NEWEST_RUN, OTHER_RUN]
    assert [(unit["index"], unit["run"]) for unit in document["units"]] == [(0, NEWEST_RUN), (1, OTHER_RUN)]
    for name in ("work", "gather"):
        done = tagged.invoke(name, "--plan", ".tagship/plan.json", *(["--index=0"] if name == "work" else []))
    assert done.code == 1
    assert f"1 of 2 units are not done:\n  1 lora of {OTHER_RUN}: it has no result\nnothing was" in done.stderr
    assert "--index 1" in done.stderr
    assert not tagged.published()
    assert tagged.invoke("work", "--plan", ".tagship/plan.json", "--index=1").code == 0
    for _ in range(2):
        gathered = tagged.invoke("gather", "--plan", ".tagship/plan.json", "--json")
        assert gathered.code == 0, gathered.stderr
    repos = [run["formats"][0]["repo_id"] for run in gathered.document["runs"]]
    assert [name.rsplit("/")[-1] for name in repos] == ["phi3avro-r16-lora-v1.0.0", "phi3avro-r8-lora-v1.0.0"]
    published = tagged.published()
    both = tagged.invoke("release", *BOTH, "--json")
    assert both.code == 0, both.stderr
    assert [run["run"] for run in both.document["runs"]] == [NEWEST_RUN, OTHER_RUN]
    assert tagged.published() == published
    assert not (tagged.folder / ".tagship/results").exists()
    for run in (NEWEST_RUN, OTHER_RUN):
        released = tagged.invoke("release", "--run", run, "--format", "lora")
        assert released.code == 0, released.stderr
    assert tagged.published() == published


def test_runs_of_one_name(make_project: Callable[[], Project]) -> None:
    """Runs whose repos would have the same name are refused, with what tells them apart."""
    project = make_project()
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: two ranks")
    done = project.invoke("plan", *BOTH, "--json")
    assert done.code == 2
    assert f"what is made of {NEWEST_RUN} and of {OTHER_RUN} would both be " in done.stderr
    assert "{rank}" in done.stderr


def test_matrix_of_runs(tagged: Project) -> None:
    """The matrix has the jobs of all runs; a run that is named twice is one."""
    done = tagged.invoke("plan", *BOTH, "--run", f"examples/avro/adapters/{OTHER_RUN}", "--matrix")
    assert done.code == 0, done.stderr
    (jobs,) = json.loads(done.stdout).values()
    assert [(job["index"], job["run"]) for job in jobs] == [(0, NEWEST_RUN), (1, OTHER_RUN)]
    assert len({job["digest"] for job in jobs}) == 2


@pytest.mark.parametrize("damage", [{"runs": []}, {"commit": "0" * 40}, {"runs": 7}, {"runs": [{"run": "../x"}]}])
def test_no_plan_of_runs(tagged: Project, damage: dict[str, Any]) -> None:
    """What is no document of several runs is told in one message."""
    planned = tagged.invoke("plan", *BOTH, "--json")
    (tagged.folder / ".tagship").mkdir(exist_ok=True)
    (tagged.folder / ".tagship/plan.json").write_text(json.dumps(json.loads(planned.stdout) | damage))
    done = tagged.invoke("gather", "--plan", ".tagship/plan.json")
    assert done.code == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "remedy: " in done.stderr
