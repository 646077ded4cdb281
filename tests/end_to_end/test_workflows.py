"""This repository's workflows, run: what each event releases, and what it does not."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tagship.artifacts.archive import manifest_in

from tests.end_to_end.actions_runner import FAILURE, SKIPPED, SUCCESS, Event, Job, Runner, matches
from tests.end_to_end.conftest import NEWEST_RUN, REPOSITORY, Project

EXPORT, PUBLISH = (
    REPOSITORY / ".github/workflows" / f"{name}.yml" for name in ("export-complete", "publish-huggingface")
)
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tagship.cli.units") is None, reason="`work` and `gather` are not there"
)


@pytest.fixture
def remote(make_project: Callable[[], Project], tmp_path: Path) -> Project:
    """A bare repository on a remote, of a project with two formats; it is pushed to from where it was made."""
    project = make_project()
    project.replace("release.toml", '[formats.ollama]\nquants = ["q4_k_m"]\n', "")
    project.git("commit", "--quiet", "--all", "--message=chore: two formats")
    project.git("clone", "--quiet", "--bare", ".", str(tmp_path / "remote.git"))
    project.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    return project


def pushed(remote: Project, tag: str, message: str | None = None) -> Event:
    """The event of a tag that is made and pushed."""
    remote.git("tag", tag, *(("--message", message) if message else ()))
    remote.git("push", "--quiet", "origin", tag)
    return Event(name="push", ref=f"refs/tags/{tag}")


def runner(remote: Project, event: Event, tmp_path: Path) -> Runner:
    """A runner for an event, with the environment of the tests."""
    folder = tmp_path / "runs" / event.ref.replace("/", "-")
    return Runner(tmp_path / "remote.git", event, folder, remote.environment)


def started(event: Event) -> list[Path]:
    """The workflows that a push starts."""
    return [workflow for workflow in (EXPORT, PUBLISH) if matches(event, workflow)]


def published(job: Job) -> list[str]:
    """The repositories on the embedded Hub of a job's machine."""
    found = (job.workspace / ".tagship/hub").rglob("*.git")
    return sorted(path.relative_to(path.parents[1]).as_posix().removesuffix(".git") for path in found)


def archives(run: Runner) -> list[str]:
    return sorted(path.name for path in (run.artifacts / "archives").glob("*.tar.gz"))


def test_tags_of_two_streams_on_one_commit(remote: Project, tmp_path: Path) -> None:
    """Each push releases its own tag, whichever others are on the commit, and with the message that checkout took from
    it: every export in a job of its own, and all of them in one release."""
    first = pushed(remote, "v1.0.0", "Release v1.0.0: the story")
    second = pushed(remote, "model-v2.0.0", "Model v2.0.0: another story")
    for event, version, story in ((first, "1.0.0", "the story"), (second, "2.0.0", "another story")):
        assert started(event) == [PUBLISH]
        run = runner(remote, event, tmp_path)
        jobs = run.run(PUBLISH)
        log = "".join(job.log for job in jobs.values())
        assert {name: job.result for name, job in jobs.items()} == {
            "export / plan": SUCCESS,
            "export / work": SUCCESS,
            "export / gather": SKIPPED,
            "export": SUCCESS,
            "publish": SUCCESS,
        }, log
        names = [f"acme/phi3avro-minimal-{label}-v{version}" for label in ("lora", "vllm")]
        assert published(jobs["publish"]) == ["acme/phi3avro", *names]
        assert archives(run) == [f"{form}-{NEWEST_RUN}-v{version}.tar.gz" for form in ("lora", "vllm")]
        assert "lightweight" not in log and "another tag" not in log
        (bare,) = (jobs["publish"].workspace / ".tagship/hub").rglob(f"*lora-v{version}.git")
        assert story in remote.git("--git-dir", str(bare), "log", "--format=%B", "main")


def test_a_tag_that_only_exports(remote: Project, tmp_path: Path) -> None:
    """It runs one workflow, whose archives have the version, and publishes nothing; also where the commit has a tag
    that does publish."""
    pushed(remote, "v1.0.0", "Release v1.0.0")
    event = pushed(remote, "export-v3.0.0", "Export v3.0.0")
    assert started(event) == [EXPORT]
    run = runner(remote, event, tmp_path)
    jobs = run.run(EXPORT)
    assert [job.result for job in jobs.values()] == [SUCCESS] * 3, "".join(job.log for job in jobs.values())
    assert archives(run) == [f"{form}-{NEWEST_RUN}-v3.0.0.tar.gz" for form in ("lora", "vllm")]
    assert published(jobs["gather"]) == []


@pytest.mark.parametrize("tag", ["v1.2", "v1.0.0.0", "nightly"])
def test_a_tag_that_is_no_version(remote: Project, tmp_path: Path, tag: str) -> None:
    """It ends well where it starts anything, having done nothing and said why."""
    event = pushed(remote, tag)
    assert started(event) == ([] if tag == "nightly" else [PUBLISH])
    if started(event):
        run = runner(remote, event, tmp_path)
        jobs = run.run(PUBLISH)
        assert {name: job.result for name, job in jobs.items()} == {
            "export / plan": SUCCESS,
            "export / work": SKIPPED,
            "export / gather": SKIPPED,
            "export": SUCCESS,
            "publish": SKIPPED,
        }
        assert f"the tag {tag} triggers nothing" in jobs["export / plan"].log


@pytest.mark.long
def test_by_hand(remote: Project, tmp_path: Path) -> None:
    """By hand on a branch names have the time, though a version is tagged there, and inputs say what is published, and
    how it is called; what is only exported goes nowhere but into archives."""
    pushed(remote, "v1.0.0", "Release v1.0.0")
    inputs = {"model_type": "lora", "repo_name": "phi3-avro-lora-custom", "private": True}
    run = runner(remote, Event(name="workflow_dispatch", ref="refs/heads/main", inputs=inputs), tmp_path)
    jobs = run.run(PUBLISH)
    assert jobs["publish"].result == SUCCESS, "".join(job.log for job in jobs.values())
    assert published(jobs["publish"]) == ["acme/phi3-avro-lora-custom", "acme/phi3avro"]
    plan = json.loads((run.artifacts / "plan/plan.json").read_text())
    assert (plan["tag"], plan["private"], len(plan["units"])) == (None, True, 1)
    shutil.rmtree(tmp_path / "runs")
    export = Event(name="workflow_dispatch", ref="refs/heads/main", inputs={"export_formats": "lora"})
    run = runner(remote, export, tmp_path)
    jobs = run.run(EXPORT)
    assert jobs["gather"].result == SUCCESS, "".join(job.log for job in jobs.values())
    assert archives(run) == [f"lora-{NEWEST_RUN}.tar.gz"]
    assert json.loads((run.artifacts / "plan/plan.json").read_text())["hub"] == "embedded"
    manifest = manifest_in(run.artifacts / "archives" / archives(run)[0])
    assert manifest is not None and manifest.tag is None


@pytest.mark.long
def test_one_export_that_fails(remote: Project, tmp_path: Path) -> None:
    """Nothing is published, and the last job says which export is missing. Running the failed jobs again, once that is
    mended, makes that export alone, and publishes all."""
    run = runner(remote, pushed(remote, "v1.0.0", "Release v1.0.0"), tmp_path)
    program = run.folder / "bin" / "invoke"
    whole = program.read_text()
    program.write_text(whole.replace("exec", '[ "$1 $INDEX" = "work 1" ] && exit 1\nexec'))
    jobs = run.run(PUBLISH)
    assert (jobs["export / work"].result, jobs["publish"].result) == (FAILURE, FAILURE)
    assert "1 of 2 units are not done" in jobs["publish"].log and "1 lora: " in jobs["publish"].log
    assert published(jobs["publish"]) == []
    program.write_text(whole.replace("exec", '[ "$1 $INDEX" = "work 0" ] && exit 1\nexec'))
    jobs = run.run(PUBLISH)
    assert (jobs["export / work"].result, jobs["publish"].result) == (SUCCESS, SUCCESS), jobs["publish"].log
    assert len(published(jobs["publish"])) == 3
