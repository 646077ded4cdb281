"""What is found in a repository: adapters, models, the base of a run, the remote, a login."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tagship.setup.facts import GITHUB, GITLAB, look
from tagship.setup.found_bases import find_base, find_models
from tagship.setup.found_runs import find_adapters, places_of_runs
from tagship.setup.policy_proposal import propose_policy
from tagship.system.errors import ReleaseError

from tests.conftest import GitFolder, WriteRun

NOBODY = {"HF_TOKEN_PATH": os.devnull}


def write_model(folder: Path, **config: str) -> Path:
    """A folder with what makes it a model to those who look at names alone."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "phi3", **config}))
    (folder / "model.safetensors").touch()
    return folder


def test_adapters(tmp_path: Path, write_run: WriteRun) -> None:
    """Adapters are found at any depth, but for those of exports and environments; broken ones with what is wrong."""
    for name in ("outputs/run1/checkpoint-40", "a", ".hidden/a", "venv/lib/a", "exports/x-lora"):
        write_run(tmp_path / name)
    (tmp_path / "exports/x-lora/release.json").write_text("{}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/adapter_config.json").write_text("{}")
    write_run(tmp_path / "other", peft_type="IA3")
    found = {run.path.relative_to(tmp_path).as_posix(): run.problem for run in find_adapters(tmp_path)}
    assert found.keys() == {"outputs/run1/checkpoint-40", "a", "broken", "other"}
    assert found["a"] is None and "adapter_config.json is not a PEFT" in str(found["broken"])
    assert found["other"] == "it is IA3, not LORA"


def test_checkpoints(tmp_path: Path, write_run: WriteRun) -> None:
    """Of a run's checkpoints the one of the most steps comes first, whatever its files' times, as releases take it."""
    for number, name in enumerate(("a/checkpoint-100", "a/checkpoint-20", "b/checkpoint-30")):
        for file in write_run(tmp_path / name).iterdir():
            os.utime(file, (1000 + number, 1000 + number))
    found = [run.path.relative_to(tmp_path).as_posix() for run in find_adapters(tmp_path)]
    assert found == ["b/checkpoint-30", "a/checkpoint-100", "a/checkpoint-20"]


def test_links(tmp_path: Path, write_run: WriteRun) -> None:
    """Adapters are found where a link leads to another disk, but each once, and in no circle."""
    write_run(tmp_path / "disk/run-a")
    project = tmp_path / "project"
    project.mkdir()
    (project / "outputs").symlink_to(tmp_path / "disk")
    (project / "again").symlink_to(tmp_path / "disk/run-a")
    (tmp_path / "disk/back").symlink_to(project)
    assert [run.path.relative_to(project).as_posix() for run in find_adapters(project)] == ["again"]


def test_places_of_runs(tmp_path: Path, write_run: WriteRun) -> None:
    """The folder of the newest adapter that is whole; all checkpoints where there is nothing else, and times of files
    where nothing tells when a run was trained."""

    def places() -> str | None:
        found = places_of_runs(find_adapters(tmp_path), tmp_path)
        return str(Path(str(found)).relative_to(tmp_path)) if found else None

    assert places() is None
    for number, name in enumerate(("out/a/checkpoint-20", "out/b/checkpoint-10", "out/a/checkpoint-10")):
        folder = write_run(tmp_path / name)
        for file in folder.iterdir():
            os.utime(file, (1000 + number, 1000 + number))
    assert places() == "out/*/checkpoint-*"
    write_run(tmp_path / "old/bot-20200101")
    write_run(tmp_path / "new/bot-20250101")
    assert places() == "new/*"


def test_what_is_beside_an_adapter(tmp_path: Path, write_run: WriteRun) -> None:
    """The record of a trainer, and the one dataset that its card names, are told; of several datasets none is."""
    run = write_run(tmp_path / "outputs/checkpoint-5")
    (run / "trainer_state.json").write_text('{"num_train_epochs": 3}')
    (run / "README.md").write_text("---\ndatasets:\n- acme/food-recipes\n---\n")
    (found,) = find_adapters(tmp_path)
    assert found.fields == {"epochs": 3, "dataset": "food_recipes"}
    assert (found.telling_name, found.has_record) == ("outputs", False)
    (run / "README.md").write_text("---\ndatasets: [a, b]\n---\n")
    assert "dataset" not in find_adapters(tmp_path)[0].fields


def test_base_models(tmp_path: Path, write_run: WriteRun) -> None:
    """A base is a model of the Hub, a folder with what its files tell of it, or the only model that is here."""
    write_run(tmp_path / "adapters/a")
    assert find_models(tmp_path) == []
    hub = find_base("org/name", tmp_path, [])
    assert (hub.id, hub.path, hub.elsewhere) == ("org/name", None, False)
    assert find_base("/home/me/models/x", tmp_path, []).id is None
    folder = write_model(tmp_path / "models/tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    models = find_models(tmp_path)
    assert models == [folder]
    of_folder = find_base("models/tiny", tmp_path, models)
    assert (of_folder.id, of_folder.path, of_folder.license) == (None, folder, "mit")
    assert of_folder.suggested_name == "phi3-tiny"
    elsewhere = find_base("/home/me/models/x", tmp_path, models)
    assert (elsewhere.path, elsewhere.elsewhere) == (folder, True)
    here = write_model(tmp_path / "models/Name-1B")
    assert find_base("org/Name-1B", tmp_path, find_models(tmp_path)).path == here
    assert find_base("/nowhere", tmp_path, find_models(tmp_path)).path is None  # which of the two?


def test_which_model_a_folder_is(tmp_path: Path) -> None:
    """A folder's own files tell which model it is: what it was loaded from, or cloned from; another remote does not."""
    loaded = write_model(tmp_path / "a", _name_or_path="org/loaded")
    assert find_base("a", tmp_path, [loaded]).id == "org/loaded"
    cloned = write_model(tmp_path / "b", _name_or_path="/home/me/x")
    for url, known in (("https://huggingface.co/org/cloned", "org/cloned"), ("https://github.com/org/other", None)):
        (cloned / ".git").mkdir(exist_ok=True)
        (cloned / ".git/config").write_text(f'[remote "origin"]\n\turl = {url}\n')
        assert find_base("b", tmp_path, [cloned]).id == known
    assert write_model(tmp_path / "Phi-3-mini").is_dir()
    assert find_base("Phi-3-mini", tmp_path, []).suggested_name == "Phi-3-mini"


@pytest.mark.parametrize(
    ("remote", "forge", "owner"),
    [
        (None, GITHUB, None),
        ("git@github.com:ada/models.git", GITHUB, "ada"),
        ("https://oauth2:secret@gitlab.example.org/team/sub/models.git", GITLAB, "team"),
        ("https://codeberg.org/ada/models", None, "ada"),
        ("https://github.com/ada-/models", GITHUB, None),
        ("/srv/git/models.git", GITHUB, None),
    ],
)
def test_remote(repository: GitFolder, remote: str | None, forge: str | None, owner: str | None) -> None:
    """The remote tells whose CI there is, and whom the repository belongs to."""
    if remote:
        repository.git("remote", "add", "origin", remote)
    facts = look(repository.folder, NOBODY)
    assert (facts.forge, facts.owner) == (forge, owner)
    assert facts.git is not None and not facts.git.has_commit
    assert "secret" not in str(facts.git.page)


def test_a_folder_for_a_file(repository: GitFolder) -> None:
    """A folder that has the name of a file is told, and not taken for nothing."""
    (repository.folder / ".gitignore").mkdir()
    with pytest.raises(ReleaseError, match=r"^\.gitignore is a folder"):
        look(repository.folder, NOBODY).text_of(".gitignore")


@pytest.mark.parametrize(("kind", "told"), [("pipe", "is no file: a pipe"), ("link", "is a link to nothing")])
def test_what_is_no_file(repository: GitFolder, kind: str, told: str) -> None:
    """A pipe would be waited for, and a link to nothing taken for nothing; also where the policy would be."""
    for name in (".gitignore", "release.toml"):
        path = repository.folder / name
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("nowhere")
    facts = look(repository.folder, NOBODY)
    with pytest.raises(ReleaseError, match=rf"^\.gitignore {told}"):
        facts.text_of(".gitignore")
    with pytest.raises(ReleaseError, match=rf"^release\.toml {told}"):
        propose_policy(facts, {})


def test_a_bare_repository(repository: GitFolder, tmp_path: Path) -> None:
    """There are no files to release from, and git would not have ours: a clone is what can be set up."""
    repository.commit("start")
    repository.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    with pytest.raises(ReleaseError, match="is a bare repository") as told:
        look(tmp_path / "bare.git", NOBODY)
    assert told.value.remedy == f"set up a clone of it: git clone {tmp_path / 'bare.git'}"


def test_without_a_repository_and_with_a_login(tmp_path: Path) -> None:
    """A folder in no repository is looked at as well; a token is one in the environment, or in the file of a login."""
    facts = look(tmp_path, NOBODY)
    assert (facts.git, facts.logged_in) == (None, False)
    assert look(tmp_path, {"HF_TOKEN": "hf_x", **NOBODY}).logged_in
    (tmp_path / "token").write_bytes(b"\xff\n")  # what is no text is told where it is sent
    assert look(tmp_path, {"HF_TOKEN_PATH": str(tmp_path / "token")}).logged_in
    shutil.rmtree(tmp_path)
