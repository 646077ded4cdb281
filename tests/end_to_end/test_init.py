"""`tagship init` in the repository of somebody who has an adapter, a base model and nothing else: with what it writes a
release works."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import NEWEST_RUN, REPOSITORY, Finished, Project

TAGSHIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'tagship'; from tagship.cli.program import main; main()"]


def tagship(project: Project, *arguments: str) -> Finished:
    """The console command, with nobody to answer."""
    done = subprocess.run(
        [*TAGSHIP, *arguments],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return Finished(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture
def stranger(make_project: Callable[[], Project], tmp_path: Path) -> Project:
    """A repository with a tiny model and a checkpoint of an adapter that records its base by another place."""
    project = Project(tmp_path / "bots", make_project().environment)
    example = REPOSITORY / "examples" / "avro"
    shutil.copytree(example / "base", project.folder / "models" / "tiny")
    run = shutil.copytree(example / "adapters" / NEWEST_RUN, project.folder / "outputs" / "run1" / "checkpoint-40")
    (run / "experiment_metadata.json").unlink()
    (run / "trainer_state.json").write_text('{"num_train_epochs": 6, "log_history": []}')
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("remote", "add", "origin", "https://github.com/ada/bots.git")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=feat: train")
    return project


def test_from_nothing_to_a_release(stranger: Project) -> None:
    """A plan first; with what nobody recorded given, what is written plans and releases at once, a tag too, and leaves
    git nothing that a release made."""
    before = stranger.files()
    planned = tagship(stranger, "init")
    assert (planned.code, stranger.files()) == (0, before), planned.stderr
    assert 'namespace = "ada"' in planned.stderr and "tagship init --yes --set dataset=" in planned.stderr
    refused = tagship(stranger, "init", "--yes", "--json-file", "init.json")
    assert (refused.code, stranger.files()) == (2, before | {"init.json"})
    assert "--set dataset=… --set trained=…" in json.loads((stranger.folder / "init.json").read_text())["remedy"]
    (stranger.folder / "init.json").unlink()
    given = ("--set", "dataset=minimal", "--set", "trained=20250914-132416")
    written = tagship(stranger, "init", "--yes", "--json", *given)
    assert written.code == 0, written.stderr
    assert stranger.files() == before | set(written.document["written"])
    assert [line.partition(" ")[0] for line in written.document["next"]] == ["git", "tagship", "tagship"]
    plan = tagship(stranger, "plan", "--json")
    assert plan.document["run"] == "phi3tiny-minimal-r16-a32-e6-20250914-132416", plan.stderr
    subprocess.run(written.document["next"][0], shell=True, cwd=stranger.folder, env=stranger.environment, check=True)
    stranger.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    released = tagship(stranger, "release", "--hub", "embedded", "--json")
    assert released.code == 0, released.stderr
    assert [entry["repo_id"] for entry in released.document["formats"]] == [
        f"ada/phi3tiny-minimal-{label}-v1.0.0" for label in ("vllm", "q4_k_m-gguf", "lora")
    ]
    assert stranger.git("status", "--porcelain") == ""
    assert stranger.invoke("plan", "--json").code == 0  # tasks.py


def test_a_person_is_asked(stranger: Project) -> None:
    """At a terminal what nobody recorded is asked for, once, and an answer that cannot be is asked for again."""
    person, terminal = pty.openpty()
    with subprocess.Popen(
        [*TAGSHIP, "init", "--yes"],
        cwd=stranger.folder,
        env=stranger.environment,
        stdin=terminal,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(person, b"two words\nminimal\n20250914-132416\n")
        _, said = process.communicate(timeout=60)
    os.close(person)
    os.close(terminal)
    assert process.returncode == 0, said
    assert "dataset cannot be 'two words'" in said
    record = json.loads((stranger.folder / "outputs/run1/checkpoint-40/experiment_metadata.json").read_text())
    assert record == {"epochs": 6, "dataset": "minimal", "trained": "2025-09-14T13:24:16Z"}


def test_dry_run(stranger: Project) -> None:
    """--dry-run, and Invoke's own --dry, write nothing, whatever else is said."""
    before = stranger.files()
    given = ("--set", "dataset=minimal", "--set", "trained=20250914-132416")
    for words in (("init", "--yes", "--dry-run"), ("--dry", "init", "--yes")):
        assert tagship(stranger, *words, *given).code == 0
        assert stranger.files() == before
