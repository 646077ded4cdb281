"""Digests of large files that are remembered."""

import hashlib
import os
from pathlib import Path

import pytest
from tagship.system import known_digests
from tagship.system.known_digests import KnownDigests


def large(path: Path, letter: bytes) -> Path:
    path.write_bytes(letter * (2 << 20))
    return path


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written are remembered, too."""
    monkeypatch.setattr(known_digests, "_RECENT", -(1 << 62))


def test_digest(tmp_path: Path) -> None:
    """It is the file's SHA-256, also of a small one."""
    known = KnownDigests(tmp_path / "state/digests.json")
    (tmp_path / "small").write_bytes(b"small")
    for path in (large(tmp_path / "a", b"a"), tmp_path / "small"):
        assert known.of(path) == known.of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_remembered(tmp_path: Path, patient: None) -> None:
    """A file that is the same is not read again; one that changed is, also with its size and time put back."""
    path, memory = large(tmp_path / "a", b"a"), tmp_path / "digests.json"
    first = KnownDigests(memory).of(path)
    assert first in memory.read_text()
    memory.write_text(memory.read_text().replace(first, "remembered"))
    assert KnownDigests(memory).of(path) == "remembered"
    before = path.stat()
    large(path, b"b")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert KnownDigests(memory).of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_memory_that_is_only_read(tmp_path: Path, patient: None) -> None:
    """Who may write nothing remembers nothing, and is told what others remember."""
    path, memory = large(tmp_path / "a", b"a"), tmp_path / "digests.json"
    digest = KnownDigests(memory, reads=True).of(path)
    assert not memory.exists()
    KnownDigests(memory).of(path)
    memory.write_text(memory.read_text().replace(digest, "remembered"))
    assert KnownDigests(memory, reads=True).of(path) == "remembered"


def test_new_files_are_not_remembered(tmp_path: Path) -> None:
    """What was written a moment ago may be written again in the same tick of the clock."""
    KnownDigests(tmp_path / "digests.json").of(large(tmp_path / "a", b"a"))
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "{", "\x00"])
def test_damaged_memory(tmp_path: Path, patient: None, text: str) -> None:
    """A memory that is none costs the time of hashing, and nothing else; what is gone is forgotten."""
    memory, path = tmp_path / "digests.json", large(tmp_path / "a", b"a")
    memory.write_text(text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert KnownDigests(memory).of(path) == digest
    other = path.rename(tmp_path / "b")
    assert KnownDigests(memory).of(other) == digest
    assert str(path) not in memory.read_text()
