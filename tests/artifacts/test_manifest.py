"""release.json: what a published folder is, and the checksum of everything in it.

The golden file is tests/golden/release.json; REWRITE_GOLDEN=1 pytest tests/test_manifest.py rewrites it.
"""

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import (
    MANIFEST_FILE,
    SEALS,
    FileEntry,
    Manifest,
    Part,
    file_entry,
    list_files,
    manifests_below,
    read_manifest,
    same_release,
    tool_version,
    with_evidence,
    with_file,
    write_manifest,
)
from tagship.system.errors import ReleaseError
from tagship.verify.evidence import PASSED, Evidence

from tests import tiny


def make(folder: Path) -> Manifest:
    """A folder with three files, and its manifest, not yet written."""
    for name, text in {"b.txt": "two\n", "a/nested file.bin": "one\n", "é.md": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Manifest(
        tagship="0.1.0",
        format="ollama",
        quant="q4_k_m",
        repo_id="acme/phi3-minimal-q4_k_m-gguf-v1.2.0",
        version="1.2.0",
        tag="v1.2.0",
        commit="0123456789abcdef0123456789abcdef01234567",
        exported=datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC),
        run="phi3-minimal-r32-a64-e20-20250914-132416",
        fields={"alpha": 64, "dataset": "minimal", "rank": 32},
        base_model="acme/phi3",
        base_revision=None,
        license="mit",
        files=list_files(folder),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "export"
    write_manifest(path, make(path))
    return path


def problem(folder: Path, *, hashes: bool = True) -> str:
    with pytest.raises(ReleaseError) as caught:
        check_files(folder, read_manifest(folder), hashes=hashes)
    assert caught.value.remedy
    return str(caught.value)


# Writing and reading


def test_seals_are_of_one_manifest(folder: Path) -> None:
    """What seals a folder lists its manifest, so that it is no file of it; with another manifest it is gone."""
    for name in SEALS:
        (folder / name).write_text("sealed")
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    assert list_files(folder) == manifest.files
    write_manifest(folder, manifest)
    assert not [name for name in SEALS if (folder / name).exists()]


def test_golden(folder: Path) -> None:
    """release.json is as the golden file shows it."""
    tiny.check_golden("release.json", (folder / MANIFEST_FILE).read_text(encoding="utf-8"))


def test_round_trip(folder: Path) -> None:
    """What is written is read back, equal."""
    assert read_manifest(folder) == make(folder)


def test_what_is_not_known(folder: Path) -> None:
    """An untagged release without a quantization type is read back as one."""
    manifest = replace(make(folder), quant=None, version=None, tag=None, base_revision="abc", files=())
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest


def test_dates_are_written_as_iso(folder: Path) -> None:
    """A date among a run's fields is written, and comes back, as ISO 8601 text."""
    trained = datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC)
    write_manifest(folder, replace(make(folder), fields={"trained": trained}))
    assert read_manifest(folder).fields == {"trained": "2025-09-14T13:24:16+00:00"}


def test_moment_keeps_its_zone(folder: Path) -> None:
    """The moment of the export is the same one after reading."""
    moment = datetime(2025, 9, 15, 14, 40, 51, tzinfo=timezone(timedelta(hours=2)))
    write_manifest(folder, replace(make(folder), exported=moment))
    assert read_manifest(folder).exported == datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)


def test_damaged_folders_say_nothing(folder: Path, tmp_path: Path) -> None:
    """What the exports in a folder say of themselves; whatever else lies beside them is passed over."""
    write_manifest(folder, make(folder))
    damaged = ("{}", "[" * 100_000, (folder / MANIFEST_FILE).read_text().replace("+00:00", ""), "not json", "\x00")
    for number, text in enumerate(damaged):
        (folder.parent / f"damaged-{number}").mkdir()
        (folder.parent / f"damaged-{number}" / MANIFEST_FILE).write_text(text)
    (folder.parent / "no file" / MANIFEST_FILE).mkdir(parents=True)
    assert manifests_below(folder.parent) == [make(folder)]
    assert manifests_below(folder / "nowhere") == []


def test_files_are_listed_in_order(folder: Path) -> None:
    """Every file but the manifest is listed by its POSIX path, with its size and SHA-256."""
    assert [(entry.path, entry.size) for entry in list_files(folder)] == [
        ("a/nested file.bin", 4),
        ("b.txt", 4),
        ("é.md", 0),
    ]
    counted: list[int] = []
    list_files(folder, counted.append)
    assert sum(counted) == 8
    assert file_entry(folder, "é.md").sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digests_that_are_known(folder: Path) -> None:
    """What was digested while it was written is not read once more; the rest is."""
    read: list[int] = []
    first, *others = list_files(folder)
    listed = list_files(folder, read.append, known={folder / first.path: "0" * 64})
    assert listed == (replace(first, sha256="0" * 64), *others)
    assert sum(read) == sum(entry.size for entry in others)


def test_manifest_of_a_subfolder_is_a_file(folder: Path) -> None:
    """Only the folder's own release.json is left out of the list."""
    (folder / "a" / MANIFEST_FILE).write_text("{}")
    assert f"a/{MANIFEST_FILE}" in [entry.path for entry in list_files(folder)]


def test_with_file(folder: Path) -> None:
    """A file that was changed or is new takes its place among the others."""
    manifest = make(folder)
    (folder / "b.txt").write_text("changed")
    (folder / "README.md").write_text("card")
    changed = with_file(with_file(manifest, folder, "b.txt"), folder, "README.md")
    assert [entry.path for entry in changed.files] == ["README.md", "a/nested file.bin", "b.txt", "é.md"]
    assert changed.files == list_files(folder)
    assert [entry.path for entry in manifest.files] == ["a/nested file.bin", "b.txt", "é.md"]


def test_tool_version() -> None:
    """The version that is written is the installed distribution's."""
    assert tool_version().count(".") == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"schema": 1}',
        '{"schema": 1, "exported": "yesterday", "files": []}',
        '{"schema": 1, "exported": "2025-09-15T00:00:00+00:00", "files": [{"path": "a"}]}',
        '{"schema": 1, "exported": "2025-09-15T00:00:00+00:00", "files": []}',
        '{"schema": 1, "exported": 5, "files": []}',
    ],
)
def test_malformed(tmp_path: Path, text: str) -> None:
    """A release.json that is no JSON or not ours is refused by its path."""
    (tmp_path / MANIFEST_FILE).write_text(text)
    with pytest.raises(ReleaseError, match=MANIFEST_FILE):
        read_manifest(tmp_path)


def test_unknown_field(folder: Path) -> None:
    """A field that this version does not know is refused."""
    tiny.edit_json(folder / MANIFEST_FILE, colour="red")
    with pytest.raises(ReleaseError, match="colour"):
        read_manifest(folder)


def test_newer_schema(folder: Path) -> None:
    """A manifest of a newer tagship says so."""
    tiny.edit_json(folder / MANIFEST_FILE, schema=2)
    with pytest.raises(ReleaseError, match="newer tagship") as caught:
        read_manifest(folder)
    assert caught.value.remedy
    assert "upgrade" in caught.value.remedy


def test_no_manifest(tmp_path: Path) -> None:
    """A folder without release.json is no export, and the remedy makes one."""
    with pytest.raises(ReleaseError, match="is no export") as caught:
        read_manifest(tmp_path)
    assert caught.value.remedy


# Checking


def test_folder_as_it_was_exported(folder: Path) -> None:
    """An export that nobody touched passes."""
    check_files(folder, read_manifest(folder))


def test_every_difference_is_named(folder: Path) -> None:
    """What is missing, what is not listed and what was changed are all named at once."""
    (folder / "b.txt").unlink()
    (folder / "extra.txt").write_text("x")
    (folder / "é.md").write_text("now it has text")
    message = problem(folder)
    assert "b.txt is missing" in message
    assert "extra.txt is not in release.json" in message
    assert "é.md was changed" in message
    assert "nested" not in message


def test_what_is_no_file(folder: Path) -> None:
    """Pipes, devices and folders in the place of files are named, and not read; so are those that nobody listed."""
    (folder / "b.txt").unlink()
    os.mkfifo(folder / "b.txt")
    (folder / "é.md").unlink()
    (folder / "é.md").mkdir()
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "circle").symlink_to("circle")
    message = problem(folder)
    assert message.endswith("b.txt is no file; circle is no file; zero is no file; é.md is no file")
    for place in ("/dev/zero", folder):
        (folder / MANIFEST_FILE).unlink()
        (folder / MANIFEST_FILE).symlink_to(place)
        with pytest.raises(ReleaseError, match=r"release\.json is no file") as caught:
            read_manifest(folder)
        assert caught.value.remedy == "remove or rename it"


@pytest.mark.parametrize(("name", "text"), [("b.txt", "TWO\n"), ("a/nested file.bin", "One\n")])
def test_change_of_the_same_size(folder: Path, name: str, text: str) -> None:
    """Another content of the same size is found by its hash, and only by it."""
    (folder / name).write_text(text)
    assert f"{name} was changed" in problem(folder)
    check_files(folder, read_manifest(folder), hashes=False)


def test_sizes_alone(folder: Path) -> None:
    """Without hashes a changed size is found all the same."""
    (folder / "b.txt").write_text("longer than before")
    assert "b.txt was changed" in problem(folder, hashes=False)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname"])
def test_manifest_cannot_point_outside(folder: Path, path: str) -> None:
    """A listed path outside the folder is a missing file, and is never read."""
    (folder.parent / "outside").write_text("x")
    document: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    document["files"].append({"path": path, "size": 1, "sha256": "0"})
    (folder / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
    assert FileEntry(path=path, size=1, sha256="0") in read_manifest(folder).files
    assert f"{path} is missing" in problem(folder)


# Several exports in one repo


def shared(folder: Path) -> Manifest:
    """A manifest of two exports, each with a file of its own and one that both have."""
    whole = make(folder)
    both, one, two = whole.files
    evidence = Evidence(outcome=PASSED, runtime="llama_cpp", date="2025-09-15")
    parts = []
    for quant, own in (("q4_k_m", one), ("q8_0", two)):
        manifest = with_evidence(replace(whole, quant=quant, files=(both, own)), evidence)
        parts.append(Part(quant=quant, files=manifest.files, evidence=manifest.evidence))
    return replace(whole, quant=None, files=(both, one, two), parts=tuple(parts))


def test_parts_are_read_back(tmp_path: Path) -> None:
    """A manifest of several exports is read as it was written, and gives one for each, with its own files and what was
    shown of them."""
    manifest = shared(tmp_path)
    write_manifest(tmp_path, manifest)
    read = read_manifest(tmp_path)
    assert read == manifest and read.quants == ("q4_k_m", "q8_0")
    assert read.shown() is None
    for each, part in zip(read.each(), read.parts, strict=True):
        assert (each.quant, each.files, each.parts, each.tag) == (part.quant, part.files, (), "v1.2.0")
        assert each.shown() == part.evidence is not None
        assert each.size == sum(entry.size for entry in part.files)
    alone = make(tmp_path)
    assert alone.each() == (alone,) and alone.quants == ("q4_k_m",)


def test_same_release_of_parts(tmp_path: Path) -> None:
    """What was shown of a part may be something else on another machine; its files may not."""
    manifest = shared(tmp_path)
    first, second = manifest.parts
    assert same_release(manifest, replace(manifest, parts=(first, replace(second, evidence=None))))
    assert not same_release(manifest, replace(manifest, parts=(first, replace(second, files=first.files))))
    assert not same_release(manifest, replace(manifest, parts=(first,)))


@pytest.mark.parametrize(
    "part",
    [
        {"quant": 4},
        {"files": [{"path": 1}]},
        {"other": 1},
        {"evidence": 3},
        {"evidence": {"outcome": "passed", "colour": "red"}},
        {"evidence": {"outcome": "passed", "limits": {"kl": "x", "same_tokens": True}}},
        {"evidence": {"outcome": "passed", "limits": {"kl": 10**400, "same_tokens": True}}},
        {"evidence": {"outcome": "passed", "native": {"runtime": ["vllm"]}}},
        {"evidence": {"outcome": "passed", "native": {"runtime": "vllm", "same": "many"}}},
        {"evidence": {"outcome": "passed", "native": {"runtime": "vllm", "answers": []}}},
    ],
)
def test_malformed_parts(tmp_path: Path, part: dict[str, Any]) -> None:
    write_manifest(tmp_path, shared(tmp_path))
    path = tmp_path / MANIFEST_FILE
    document = json.loads(path.read_text())
    document["parts"][0] |= part
    path.write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match="is malformed"):
        read_manifest(tmp_path)
