"""Where results of units are kept: whole or not at all, by their names."""

import os
from pathlib import Path

import pytest
from tagship.release.result_store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "results")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files that lie elsewhere, by the paths that they will have."""
    made = {"result.json": tmp_path / "a", "export/parts/weights": tmp_path / "b"}
    for path in made.values():
        path.write_text(path.name)
    return made


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_put_and_got(store: FolderStore, files: dict[str, Path], tmp_path: Path) -> None:
    """What is put under a name is got by it, also from a store that is opened anew."""
    assert not store.has("units/1") and not store.get("units/1", tmp_path)
    store.put("units/1", files)
    (tmp_path / "into").mkdir()
    again = FolderStore(store.root)
    assert again.has("units/1") and again.get("units/1", tmp_path / "into")
    assert read(tmp_path / "into") == {"result.json": "a", "export/parts/weights": "b"}
    assert files["result.json"].samefile(tmp_path / "into/result.json")  # no room is taken twice


def test_put_again(store: FolderStore, files: dict[str, Path]) -> None:
    """What is put under a name takes the place of all that it had; what is removed is gone, once or twice."""
    store.put("units/1", files)
    store.put("units/1", {"other": files["result.json"]})
    assert read(store.root) == {"units/1/other": "a"}
    for _ in range(2):
        store.remove("units/1")
    assert not store.has("units/1")


def test_put_that_fails(store: FolderStore, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be put, the name has what it had before."""
    store.put("units/1", {"before": files["result.json"]})
    link = os.link

    def failing(source: Path, target: Path) -> None:
        if target.name == "weights":
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(OSError, match="No space"):
        store.put("units/1", files)
    assert read(store.root) == {"units/1/before": "a"}
