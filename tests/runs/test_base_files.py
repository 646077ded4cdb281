"""Which files of a base model's folder are published with a release."""

import json
from pathlib import Path

import pytest
from tagship.runs.base_files import base_files, makes_the_model
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError

MODEL = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"}
PRIVATE = {".env", "id_rsa", "optimizer.pt", "scheduler.pt", "trainer_state.json", "notes.txt", "wandb/run.log"}
PRIVATE |= {"pytorch_model.bin", "modeling_own.py", "checkpoint-10/model.safetensors", "events.out.tfevents.1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in {*MODEL, *PRIVATE}:
        (tmp_path / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / name).write_text("{}")
    (tmp_path / "base" / "model.safetensors").write_text("weights")
    return tmp_path / "base"


def base(folder: Path, *, code: bool = False) -> BaseFolder:
    return BaseFolder(id="acme/base", path=folder, revision=None, license="mit", trust_remote_code=code)


def test_the_model_and_no_more(folder: Path) -> None:
    """Keys, states of the optimizer, logs and other forms of the weights stay where they are."""
    assert set(base_files(base(folder))) == {*MODEL, "model.safetensors"}


def test_shards(folder: Path) -> None:
    """Of weights in shards, those that the index names are published; one that is missing is told."""
    (folder / "model.safetensors").unlink()
    (folder / "model-00001-of-00002.safetensors").write_text("a")
    (folder / "model-00002-of-00002.safetensors").write_text("b")
    (folder / "other.safetensors").write_text("c")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = {"model.safetensors.index.json", *index["weight_map"].values()}
    assert set(base_files(base(folder))) == {*MODEL, *weights}
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ReleaseError, match="lacks model-00002-of-00002"):
        base_files(base(folder))


def test_code(folder: Path) -> None:
    """Code goes with the model where it may be run, and only that which the model names."""
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}))
    (folder / "train.py").write_text("")
    (folder / "modeling_own.py").write_text("from .layers import Layer")
    (folder / "layers.py").write_text("")
    assert set(base_files(base(folder, code=True))) - {*MODEL, "model.safetensors"} == {"modeling_own.py", "layers.py"}
    assert "modeling_own.py" not in base_files(base(folder))


def test_links_that_lead_elsewhere(folder: Path, tmp_path: Path) -> None:
    """What a link leads to outside of the folder is not published under the name of a model's file."""
    (tmp_path / "passwords").write_text("secret")
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(tmp_path / "passwords")
    with pytest.raises(ReleaseError, match=r"LICENSE would be published .* outside of its folder"):
        base_files(base(folder))
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to("notes.txt")
    assert "LICENSE" in base_files(base(folder))


@pytest.mark.parametrize("blobs", ["models--acme--base/blobs", "blobs/c2"])
def test_snapshot_of_the_cache(folder: Path, tmp_path: Path, blobs: str) -> None:
    """The Hub's cache keeps a snapshot's files elsewhere, as links: those are the model's own, others are not."""
    snapshot = tmp_path / "models--acme--base" / "snapshots" / ("0" * 40)
    (tmp_path / blobs).mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(tmp_path / blobs / name)
        (snapshot / name).symlink_to(tmp_path / blobs / name)
    assert set(base_files(base(snapshot))) == {"config.json", "model.safetensors"}
    (snapshot / "tokenizer.json").symlink_to(folder / ".env")
    with pytest.raises(ReleaseError, match="outside"):
        base_files(base(snapshot))


@pytest.mark.parametrize(
    ("name", "makes"),
    [("model.safetensors", True), ("tokenizer.json", True), ("README.md", False), ("LICENSE.txt", False)],
)
def test_what_makes_the_model(name: str, makes: bool) -> None:
    """A card and a license's text may be written on without making another model."""
    assert makes_the_model(name) is makes
