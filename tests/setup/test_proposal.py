"""What is proposed for a repository, and that it changes nothing that is there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tomli
from tagship.policy.config import load_config
from tagship.setup.changes import apply
from tagship.setup.facts import look
from tagship.setup.proposal import Proposal, Wishes, propose
from tagship.setup.questions import read_said
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import PHI3, RUN, GitFolder, WriteRun

NOBODY = {"HF_TOKEN_PATH": os.devnull}


def proposed(folder: Path, *said: str, templates: tuple[str, ...] = ()) -> Proposal:
    """What is proposed for a folder, by a copy of tagship that nobody installed."""
    return propose(look(folder, NOBODY), Wishes(said=read_said(said), templates=templates, source=None))


def policy_of(proposal: Proposal) -> dict[str, Any]:
    """The release.toml that is proposed."""
    return tomli.loads(next(change.text for change in proposal.changes if change.path == "release.toml"))


def texts(folder: Path) -> dict[str, bytes]:
    """Every file but git's."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_runs_that_are_named_as_by_default(repository: GitFolder, write_run: WriteRun) -> None:
    """Nothing is asked where everything can be seen; nothing is said of names that are the default's."""
    write_run(repository.folder / "adapters" / RUN)
    repository.git("remote", "add", "origin", "https://github.com/ada/models")
    proposal = proposed(repository.folder)
    assert (proposal.questions, proposal.run) == ((), RUN)
    policy = policy_of(proposal)
    assert policy["project"] == {
        "namespace": "ada",
        "runs": "adapters",
        "exports": "exports",
        "artifacts": "dist",
    }
    assert "naming" not in policy and "bases" not in policy
    assert list(policy["formats"]) == ["vllm", "ollama", "lora"]
    assert [change.path for change in proposal.changes if change.what == "write"] == [
        "release.toml",
        ".gitignore",
        "tasks.py",
        ".github/workflows/export-complete.yml",
        ".github/workflows/publish-huggingface.yml",
    ]
    before = texts(repository.folder)
    apply(repository.folder, proposal.changes)
    assert before.items() <= texts(repository.folder).items()
    again = proposed(repository.folder)
    assert again.written == []
    repository.write(".gitignore", "/dist\nexports/*\n*.tmp")
    (ignore,) = [change for change in proposed(repository.folder).changes if change.path == ".gitignore"]
    assert ignore.whole == "/dist\nexports/*\n*.tmp\n" + ignore.text and "dist" not in ignore.text


def test_names_that_are_learned(repository: GitFolder, write_run: WriteRun) -> None:
    """Names of another style are learned, and a word for the base; the names of repos have what they tell."""
    write_run(repository.folder / "out" / "phi3_2025-09-14_r32")
    proposal = proposed(repository.folder, "namespace=ada")
    policy = policy_of(proposal)
    assert policy["naming"]["run"] == "{base}_{trained:%Y-%m-%d}_r{rank}"
    assert policy["naming"]["repo"] == {"tagged": "{base}-{label}-v{version}"}
    assert policy["naming"]["bases"] == {PHI3: "phi3"}
    assert proposal.questions == ()


def test_what_nobody_recorded(repository: GitFolder, write_run: WriteRun) -> None:
    """What cannot be seen is asked for, all together; what is said goes into the run's record, beside what its trainer
    recorded, and the release has it."""
    run = write_run(repository.folder / "outputs/run1/checkpoint-40")
    (run / "trainer_state.json").write_text('{"num_train_epochs": 3, "global_step": 40}')
    assert [question.field for question in proposed(repository.folder).questions] == ["namespace", "dataset", "trained"]
    proposal = proposed(repository.folder, "namespace=ada", "dataset=recipes", "trained=20250914-132416")
    assert proposal.questions == ()
    apply(repository.folder, proposal.changes)
    record = json.loads((run / "experiment_metadata.json").read_text())
    assert record == {"epochs": 3, "steps": 40, "dataset": "recipes", "trained": "2025-09-14T13:24:16Z"}
    with pytest.raises(UsageError, match="is not what checkpoint-40 tells: recipes") as caught:
        proposed(repository.folder, "dataset=other")
    assert f"mend experiment_metadata.json in {run}" in str(caught.value.remedy)


def test_a_record_that_is_there(repository: GitFolder, write_run: WriteRun) -> None:
    """What was recorded stays, character for character, and gets what was said."""
    run = write_run(repository.folder / "outputs/run1/checkpoint-40")
    recorded = '{\n    "learning_rate": 1e-4,\n    "epochs": 20\n}'
    (run / "experiment_metadata.json").write_text(recorded)
    proposal = proposed(repository.folder, "namespace=ada", "dataset=minimal", "trained=2025-09-14T13:24:16Z")
    assert proposal.questions == ()
    (change,) = [each for each in proposal.changes if each.path.endswith(".json")]
    assert change.whole.startswith(recorded[:-2])
    assert json.loads(change.whole) == {
        "learning_rate": 1e-4,
        "epochs": 20,
        "dataset": "minimal",
        "trained": "2025-09-14T13:24:16Z",
    }


def test_a_checkpoint_of_a_run_with_a_name(repository: GitFolder, write_run: WriteRun) -> None:
    """The folder around a checkpoint tells all that names need: nothing is asked or recorded."""
    write_run(repository.folder / f"outputs/{RUN}/checkpoint-40")
    proposal = proposed(repository.folder, "namespace=ada")
    assert proposal.questions == ()
    assert [each.path for each in proposal.changes if each.path.endswith(".json")] == []
    assert policy_of(proposal)["project"]["runs"] == "outputs/*/checkpoint-*"


def test_an_alpha_that_is_no_whole_number(repository: GitFolder, write_run: WriteRun) -> None:
    """What has no place in names is not in their pattern."""
    write_run(repository.folder / "adapters/one", alpha=0.5)
    policy = policy_of(proposed(repository.folder, "namespace=ada"))
    assert "{alpha}" not in policy["naming"]["run"] and "{rank}" in policy["naming"]["run"]


def test_a_file_in_the_way(repository: GitFolder, write_run: WriteRun) -> None:
    """Where a folder has to be made and a file is, that is told before anything is written."""
    write_run(repository.folder / "adapters" / RUN)
    repository.write(".github/workflows", "")
    before = texts(repository.folder)
    proposal = proposed(repository.folder, "namespace=acme")
    with pytest.raises(ReleaseError, match=r"^\.github/workflows is a file, where .+ needs a folder"):
        apply(repository.folder, proposal.changes)
    assert texts(repository.folder) == before


def test_a_base_on_this_disk(repository: GitFolder, write_run: WriteRun) -> None:
    """A base whose folder tells nothing gets a name below the namespace, and is published with the model; its license
    is asked for where no card tells it. --set base says which one it is."""
    write_run(repository.folder / "adapters" / RUN, base="/home/me/base")
    model = repository.write("models/base/config.json", '{"model_type": "phi3"}').parent
    (model / "model.safetensors").touch()
    proposal = proposed(repository.folder, "namespace=ada")
    assert [question.field for question in proposal.questions] == ["license"]
    assert "the only model here, stands for it" in proposal.notes[0]
    policy = policy_of(proposed(repository.folder, "namespace=ada", "license=mit"))
    assert policy["bases"] == {
        "ada/phi3-base": {
            "path": "models/base",
            "quantized": ["/home/me/base"],
            "license": "mit",
            "publish": True,
        }
    }
    told = policy_of(proposed(repository.folder, "namespace=ada", "license=mit", f"base={PHI3}"))
    assert told["bases"] == {PHI3: {"path": "models/base", "quantized": ["/home/me/base"], "license": "mit"}}


def test_a_base_that_is_nowhere(repository: GitFolder, write_run: WriteRun) -> None:
    """A place on another machine tells nothing of a base: which one it is is asked for."""
    write_run(repository.folder / "adapters" / RUN, base="/home/me/base")
    assert [question.field for question in proposed(repository.folder).questions] == ["namespace", "base"]
    policy = policy_of(proposed(repository.folder, "namespace=ada", f"base={PHI3}"))
    assert policy["bases"] == {PHI3: {"quantized": ["/home/me/base"]}}


def test_folders_that_are_somebody_s(repository: GitFolder, write_run: WriteRun) -> None:
    """Exports and archives go where nobody has anything else, such as the packages of a Python project."""
    write_run(repository.folder / "adapters" / RUN)
    repository.write("pyproject.toml")
    repository.write("exports/mine.csv")
    policy = policy_of(proposed(repository.folder))
    assert (policy["project"]["exports"], policy["project"]["artifacts"]) == ("model-exports", "model-dist")


def test_before_anything_is_trained(tmp_path: Path) -> None:
    """A folder with nothing in it, in no repository, gets a policy that is one, and is told what is missing."""
    proposal = proposed(tmp_path, "namespace=ada")
    apply(tmp_path, proposal.changes)
    assert load_config(tmp_path / "release.toml").runs.root == tmp_path / "adapters"
    assert any("git init" in note for note in proposal.notes)
    assert any("no LoRA adapter" in note for note in proposal.notes)


def test_a_policy_that_is_there(project: GitFolder) -> None:
    """A release.toml stays; what its folders and tags are decides about the rest, and its mistakes are told."""
    project.write(
        "release.toml", (project.folder / "release.toml").read_text() + '[tags.ship]\npattern = "ship-{version}"\n'
    )
    changes = {change.path: change for change in proposed(project.folder).changes}
    assert changes["release.toml"].what == "leave"
    assert '["ship-*"]' in changes[".github/workflows/publish-huggingface.yml"].text
    project.write("release.toml", "[project]\n")
    with pytest.raises(UsageError, match=r"project.namespace is missing"):
        proposed(project.folder)


def test_a_run_that_contradicts_itself(repository: GitFolder, write_run: WriteRun) -> None:
    """A name that says another rank than the adapter has cannot be released, which is told before anything is."""
    write_run(repository.folder / "adapters" / RUN, rank=8)
    with pytest.raises(ReleaseError, match="says rank 32"):
        proposed(repository.folder)


def test_workflows_by_forge(repository: GitFolder) -> None:
    """GitLab's file is written, or beside one that is there; elsewhere it is told what CI has to run; a workflow that
    is there stays; below the top of a repository there are none."""
    repository.git("remote", "add", "origin", "https://gitlab.com/ada/models")
    assert ".gitlab-ci.yml" in proposed(repository.folder).written
    repository.write(".gitlab-ci.yml", "test: {script: [make]}\n")
    proposal = proposed(repository.folder)
    assert ".gitlab/release.gitlab-ci.yml" in proposal.written
    (kept,) = [change for change in proposal.changes if change.path == ".gitlab-ci.yml"]
    assert "include: [{local: .gitlab/release.gitlab-ci.yml}]" in kept.why
    repository.git("remote", "set-url", "origin", "https://codeberg.org/ada/models")
    assert any("release --json-file release.json" in change.why for change in proposed(repository.folder).changes)
    repository.git("remote", "remove", "origin")
    repository.write(".github/workflows/export-complete.yml", "name: mine\n")
    proposal = proposed(repository.folder)
    assert [path for path in proposal.written if "workflows" in path] == [".github/workflows/publish-huggingface.yml"]
    repository.write("below/x")
    assert not any("workflows" in path for path in proposed(repository.folder / "below").written)


def test_templates_of_one_s_own(repository: GitFolder) -> None:
    """A card is extended, another template copied; one that is there stays; of a mistyped one the like is told."""
    proposal = proposed(repository.folder, templates=("vllm/card.md.j2", "ollama/Modelfile.j2"))
    changes = {change.path: change.text for change in proposal.changes}
    card = changes["templates/vllm/card.md.j2"]
    assert card.startswith('{% extends "tagship/vllm/card.md.j2" %}\n') and "limits" in card
    root = Path(__file__).parents[2]
    assert changes["templates/ollama/Modelfile.j2"] == (root / "templates/ollama/Modelfile.j2").read_text()
    repository.write("templates/vllm/card.md.j2", "mine")
    assert "templates/vllm/card.md.j2" not in proposed(repository.folder, templates=("vllm/card.md.j2",)).written
    with pytest.raises(UsageError, match=r"did you mean 'vllm/card.md.j2'"):
        proposed(repository.folder, templates=("vlm/card.md.j2",))


def test_what_appeared_in_between(repository: GitFolder) -> None:
    """A file that somebody wrote after it was looked at is not replaced."""
    proposal = proposed(repository.folder)
    repository.write("tasks.py", "mine\n")
    with pytest.raises(ReleaseError, match=r"tasks.py is there by now"):
        apply(repository.folder, proposal.changes)
    assert (repository.folder / "tasks.py").read_text() == "mine\n"


def test_what_ci_would_not_have(repository: GitFolder, write_run: WriteRun) -> None:
    """A run that git passes over is told: CI has what is in the repository."""
    write_run(repository.folder / "adapters" / RUN)
    assert not any("passes over" in note for note in proposed(repository.folder).notes)
    repository.write(".gitignore", "adapters/\n")
    (note,) = [note for note in proposed(repository.folder).notes if "passes over" in note]
    assert f"adapters/{RUN}" in note


def test_what_is_called_otherwise(repository: GitFolder) -> None:
    """A changelog and a remote by other names than the usual ones are taken as they are."""
    repository.git("remote", "add", "upstream", "https://github.com/ada/models")
    repository.write("History.md", "# History\n")
    policy = policy_of(proposed(repository.folder))
    assert policy["versions"] == {"changelog": "History.md", "remote": "upstream"}
    assert policy["project"]["namespace"] == "ada"
    repository.write("CHANGELOG.md", "# Changelog\n")
    assert policy_of(proposed(repository.folder))["versions"] == {"remote": "upstream"}
