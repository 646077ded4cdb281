"""A release that is killed: nothing half-done is visible, and the same command finishes it."""

import os
import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from tagship.hub_server.app import EmbeddedHub

from tests.end_to_end.conftest import Project

# One format: what is tried here is the order of things, and the others are made alike.
OPTIONS = ("release", "--tag", "v1.0.0", "--format", "vllm", "--json")


def _kill_when(project: Project, line: str) -> None:
    """Start a release and end it by SIGKILL as soon as it announces a step."""
    process = subprocess.Popen(
        project.command(*OPTIONS),
        cwd=project.folder,
        env=dict(project.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        reached = any(printed.startswith(line) for printed in process.stderr)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert reached


@pytest.fixture(scope="module")
def expected(make_project: Callable[[], Project]) -> dict[str, object]:
    """What an undisturbed release makes."""
    return _archives(_finish(_tagged(make_project())))


def _tagged(project: Project) -> Project:
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    return project


def _finish(project: Project) -> dict[str, object]:
    done = project.invoke(*OPTIONS)
    assert done.code == 0, done.stderr
    return dict(done.document)


def _archives(document: dict[str, object]) -> dict[str, object]:
    formats = document["formats"]
    assert isinstance(formats, list)
    return {entry["format"]: entry["archive"] for entry in formats}


@pytest.mark.parametrize("line", ["Export", "Verify", "Package", "Publish", "Check"])
def test_killed_release_is_finished_by_the_same_command(
    project: Project, expected: dict[str, object], line: str
) -> None:
    """Killed as a step begins, a release leaves no half-made export, archive or repository behind."""
    _tagged(project)
    _kill_when(project, line)
    for folder in (project.folder / "exports").glob("[!.]*"):
        assert (folder / "release.json").is_file()
    _check_hub(project)
    assert _archives(_finish(project)) == expected
    left = [path for path in project.folder.rglob("*.partial") if ".git/" not in str(path)]
    assert left == []


@pytest.mark.usefixtures("heard_interrupts")
def test_interrupted_without_a_tag(project: Project) -> None:
    """Names of what has no tag have the time: what goes on is the same command with that."""
    options = ("release", "--format", "lora")
    process = subprocess.Popen(
        project.command(*options), cwd=project.folder, env=dict(project.environment), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr:
        assert any(line.startswith("Answers of base + adapter") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.wait() == 130, said
    assert "Traceback" not in said, said
    found = re.search(r"remedy: the same command with (--at \S+) goes on where this one stopped", said)
    assert found, said
    again = project.invoke(*options, *found[1].split())
    assert again.code == 0 and "exported before" in again.stderr, again.stderr


def _check_hub(project: Project) -> None:
    """Each repository is either as it was created or holds a whole release; no tag is without one."""
    root = project.folder / ".tagship/hub"
    if not (root / "repos/acme").is_dir():
        return
    with EmbeddedHub(root=root) as hub:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=hub.url, token=False)
        for model in api.list_models(author="acme"):
            files = set(api.list_repo_files(model.id)) - {".gitattributes"}
            assert not files or "release.json" in files or model.id == "acme/phi3avro"
