"""What of a base is on this disk: in a folder, in the Hub's cache, in part."""

import json
from pathlib import Path

import pytest
from tagship.runs.base import BaseModel
from tagship.runs.base_at_hand import CACHE, FOLDER, NOWHERE, base_at_hand
from tagship.system.errors import ReleaseError

COMMIT = "a" * 40
INDEX = {"metadata": {"total_size": 8}, "weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"vocab_size": 5}', encoding="utf-8")
    for name in names:
        (folder / name).write_text(json.dumps(INDEX) if name.endswith(".json") else "", encoding="utf-8")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, with a part of a model at a commit that main is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache/models--org--name"
    fill(repo / "snapshots" / COMMIT, "model.safetensors.index.json", "model-2.safetensors")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT, encoding="utf-8")
    return repo


def test_folder_in_part(tmp_path: Path) -> None:
    """The files that are here, of those that the index names."""
    folder = fill(tmp_path / "base", "model.safetensors.index.json", "model-1.safetensors", "model-3.safetensors")
    found = base_at_hand(BaseModel(id="org/name", path=folder))
    assert found.files is not None and (found.place, found.commit, found.files.total) == (FOLDER, None, 8)
    assert (found.files.names, found.here) == (
        ("model-1.safetensors", "model-2.safetensors"),
        ("model-1.safetensors",),
    )


def test_single_file(tmp_path: Path) -> None:
    """A single file comes before an index, as everywhere."""
    folder = fill(tmp_path / "base", "model.safetensors.index.json", "model.safetensors")
    assert base_at_hand(BaseModel(id="org/name", path=folder)).here == ("model.safetensors",)


@pytest.mark.parametrize("total", ["NaN", "Infinity", '"8"'])
def test_size_that_is_none(tmp_path: Path, total: str) -> None:
    """A total size that is no number is not known."""
    folder = fill(tmp_path / "base")
    text = json.dumps(INDEX).replace('"total_size": 8', f'"total_size": {total}')
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    found = base_at_hand(BaseModel(id="org/name", path=folder)).files
    assert found is not None and found.total is None


def test_damaged_index(tmp_path: Path) -> None:
    """An index that is none, or that names files elsewhere, is refused."""
    folder = fill(tmp_path / "base")
    for text, words in (
        ("{}", "is not a valid index"),
        ('{"weight_map": {"x": "../x.safetensors"}}', "which is no file beside it"),
        (json.dumps({"weight_map": {"x": "x" * 5000 + ".safetensors"}}), "which is no file beside it"),
    ):
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
        with pytest.raises(ReleaseError, match=words):
            base_at_hand(BaseModel(id="org/name", path=folder))


@pytest.mark.parametrize(
    ("revision", "place"),
    [(None, CACHE), ("main", CACHE), (COMMIT, CACHE), ("b" * 40, NOWHERE), ("../../..", NOWHERE), ("/etc", NOWHERE)],
)
def test_cache(cache: Path, revision: str | None, place: str) -> None:
    """A snapshot of the cache is found by commit or by name; what is a path is no revision."""
    found = base_at_hand(BaseModel(id="org/name", revision=revision))
    assert found.place == place
    assert (found.commit, found.here) == ((COMMIT, ("model-2.safetensors",)) if place == CACHE else (None, ()))
