"""Whether exports are what was exported, seen while something else is done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tagship.artifacts.manifest import Manifest, list_files, write_manifest
from tagship.release.export_checks import ExportChecks
from tagship.system.console import Console
from tagship.system.errors import ReleaseError

from tests import tiny


class Named:
    """As much of a target as is looked at."""

    def __init__(self, folder: Path) -> None:
        self.name, self.export_dir = folder.name, folder


@pytest.fixture
def checks() -> Iterator[ExportChecks]:
    with ExportChecks(Console(interactive=False)) as made:
        yield made


def exported(folder: Path, size: int = 1000) -> tuple[Any, Manifest]:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(size))
    manifest = tiny.manifest(files=list_files(folder))
    write_manifest(folder, manifest)
    return Named(folder), manifest


def test_whole(checks: ExportChecks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who waits is told once that it is whole; one that nobody asked to look at is not waited for."""
    target, manifest = exported(tmp_path / "vllm")
    checks.add(target, manifest)
    checks.wait(target)
    checks.wait(target)
    checks.wait(exported(tmp_path / "lora")[0])
    assert "".join(capsys.readouterr()).count("as release.json says") == 1


def test_changed(checks: ExportChecks, tmp_path: Path) -> None:
    """A byte that was changed is told to who waits, and not of another export; a file that is shorter, at once."""
    target, manifest = exported(tmp_path / "vllm")
    (target.export_dir / "model.safetensors").write_bytes(bytes(999) + b"\1")
    checks.add(target, manifest)
    other, theirs = exported(tmp_path / "lora")
    checks.add(other, theirs)
    checks.wait(other)
    with pytest.raises(ReleaseError, match=r"model\.safetensors was changed"):
        checks.wait(target)
    (other.export_dir / "model.safetensors").write_bytes(b"")
    with pytest.raises(ReleaseError, match=r"model\.safetensors was changed"):
        checks.add(other, theirs)


def test_the_smallest_first(checks: ExportChecks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What writes drafts need not wait for the merged weights."""
    looked_at: list[str] = []
    monkeypatch.setattr(
        "tagship.release.export_checks.check_files",
        lambda folder, manifest, **how: looked_at.append(folder.name) if how.get("hashes", True) else None,
    )
    large, small = exported(tmp_path / "vllm"), exported(tmp_path / "ollama", 10)
    checks.add(*large)
    checks.add(*small)
    assert looked_at == []
    checks.begin()
    checks.wait(large[0])
    assert looked_at == ["ollama", "vllm"]
