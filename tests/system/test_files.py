"""Files and folders that appear whole or not at all."""

import errno
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError
from tagship.system.files import (
    BLOCK,
    copy_file,
    copy_range,
    files_below,
    link_file,
    new_file,
    new_folder,
    remove_leftovers,
    scratch_folder,
    set_aside,
    sha256_of,
    share_range,
    size_of_leftovers,
    write_json,
    write_text,
)
from tagship.system.scratch_folders import ScratchFolders


class Interrupted(BaseException):
    """As KeyboardInterrupt: no Exception."""


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# Folders


def test_scratch_folder(tmp_path: Path) -> None:
    """It is gone with the block; what a killed process left is removed by the next one, what another uses is not."""
    left = tmp_path / ".draft-left.tagship.partial"
    left.mkdir()
    other = tmp_path / ".drafts.tagship.partial"
    other.mkdir()
    with scratch_folder("draft", tmp_path) as ours:
        assert not left.exists() and other.exists()
        (ours / "file").write_text("x")
        remove_leftovers(tmp_path)
        with scratch_folder("draft", tmp_path) as theirs:
            assert ours.exists() and theirs != ours
    assert list(tmp_path.iterdir()) == []


def test_scratch_folder_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder is named it is the system's, and what a killed process left there is removed as well."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".tagship-chat-left.tagship.partial").mkdir()
    with scratch_folder("tagship-chat") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    """While it is filled there is nothing under the final name; then it is there with all of its files."""
    target = tmp_path / "deep" / "export"
    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
        assert not target.exists()
    assert everything(tmp_path) == ["deep", "deep/export", "deep/export/sub", "deep/export/sub/a"]


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_new_folder_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """On any error, an interruption among them, nothing is left."""
    with pytest.raises(error), new_folder(tmp_path / "export") as folder:
        (folder / "a").write_text("1")
        raise error
    assert everything(tmp_path) == []


def test_new_folder_replaces(tmp_path: Path) -> None:
    """What was there under the name is gone with all of its files."""
    target = tmp_path / "export"
    for name in ("old", "new"):
        with new_folder(target) as folder:
            (folder / name).write_text(name)
    assert everything(tmp_path) == ["export", "export/new"]


def test_new_folder_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    """A failure leaves what was there before as it was."""
    target = tmp_path / "export"
    with new_folder(target) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(ValueError, match="no"), new_folder(target) as folder:
        (folder / "new").write_text("new")
        raise ValueError("no")
    assert everything(tmp_path) == ["export", "export/old"]


KILLED = """
import os, sys
from pathlib import Path
from tagship.system.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["export", "other"])
def test_what_a_killed_run_left_is_removed(tmp_path: Path, name: str) -> None:
    """What a killed process left of this or of another folder beside it is gone after the next run."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / name).exists()
    assert any("half" in left for left in everything(tmp_path))
    with new_folder(tmp_path / "export") as folder:
        assert everything(folder) == []
        (folder / "whole").write_text("whole")
    assert everything(tmp_path) == ["export", "export/whole"]


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    """A run that was killed with the old folder moved away and the new one not yet there is no obstacle."""
    for left in (".export.tagship.partial", ".export.replaced.tagship.partial"):
        (tmp_path / left / "sub").mkdir(parents=True)
        (tmp_path / left / "sub" / "a").write_text("1")
    for content in ("first", "second"):
        with new_folder(tmp_path / "export") as folder:
            (folder / content).write_text(content)
    assert everything(tmp_path) == ["export", "export/second"]


def test_two_at_once(tmp_path: Path) -> None:
    """A second process that fills the same folder is refused, and does the first one no harm."""
    target = tmp_path / "export"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        second = subprocess.run(
            [sys.executable, "-c", KILLED, str(target)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"another process is writing {target}" in second.stderr
    assert everything(tmp_path) == ["export", "export/a"]


def test_two_beside_each_other(tmp_path: Path) -> None:
    """Filling one folder leaves another alone that is being filled beside it."""
    with new_folder(tmp_path / "one") as first:
        (first / "a").write_text("1")
        with new_folder(tmp_path / "two") as second:
            (second / "b").write_text("2")
        with pytest.raises(ReleaseError), new_folder(tmp_path / "one"):
            pass
    assert everything(tmp_path) == ["one", "one/a", "two", "two/b"]


# Folders that are resumed

INTERRUPTED = """
import os, sys
from pathlib import Path
from tagship.system.files import new_folder
with new_folder(Path(sys.argv[1]), resumes="weights") as folder:
    (folder / "whole").write_text("whole")
    (folder / ".half.partial").write_text("half")
    (folder / ".staging.partial").mkdir()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_folder_that_is_resumed(tmp_path: Path, how: str) -> None:
    """A run of the same name finds the whole files that a killed one left, whatever it is called at the end."""
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path / "first"), how], check=False, capture_output=True)
    assert size_of_leftovers(tmp_path) > 0
    with new_folder(tmp_path / "second", resumes="weights") as folder:
        assert everything(folder) == ["whole"]
    assert everything(tmp_path) == ["second", "second/whole"]
    assert size_of_leftovers(tmp_path) == 0


def test_leftovers_of_another_name(tmp_path: Path) -> None:
    """What a killed run left is not used for something else, and is removed unless it is named."""
    for kept in (("weights",), ()):
        subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(tmp_path / "first"), "killed"], check=False, capture_output=True
        )
        with new_folder(tmp_path / "second", resumes="others") as folder:
            remove_leftovers(tmp_path, ["others", *kept])
            assert everything(folder) == []
        assert (tmp_path / ".weights.tagship.partial").exists() == bool(kept)


@pytest.mark.parametrize("resumes", [None, "weights"])
def test_folders_of_others(tmp_path: Path, resumes: str | None) -> None:
    """What other programs have not finished yet is left alone, and counted by nobody."""
    (tmp_path / ".download.partial").mkdir()
    (tmp_path / ".download.partial" / "part").write_text("x")
    with new_folder(tmp_path / "export", resumes=resumes):
        remove_leftovers(tmp_path)
    assert size_of_leftovers(tmp_path) == 0
    assert everything(tmp_path) == [".download.partial", ".download.partial/part", "export"]


@pytest.mark.parametrize("resumes", [None, "weights"])
def test_error_leaves_nothing_to_resume(tmp_path: Path, resumes: str | None) -> None:
    """An error that the same command would meet again leaves nothing behind."""
    with pytest.raises(ValueError, match="no"), new_folder(tmp_path / "export", resumes=resumes) as folder:
        (folder / "a").write_text("1")
        raise ValueError("no")
    assert everything(tmp_path) == []


def test_two_that_resume_the_same(tmp_path: Path) -> None:
    """Two processes that would resume the same folder do not both do it."""
    with new_folder(tmp_path / "one", resumes="weights") as folder:
        (folder / "a").write_text("1")
        with pytest.raises(ReleaseError, match="another process"), new_folder(tmp_path / "two", resumes="weights"):
            pass
    assert everything(tmp_path) == ["one", "one/a"]


# Files


def test_new_file_appears_at_the_end(tmp_path: Path) -> None:
    """While it is written there is nothing under the final name; then it replaces what was there."""
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "old")
    with new_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert everything(tmp_path) == ["deep", "deep/a.txt"]


WRITES = """
import sys
from pathlib import Path
from tagship.system.files import new_file
with new_file(Path(sys.argv[1]), wait=sys.argv[2] == "wait") as partial:
    partial.write_text("second")
"""


def test_one_process_writes_a_file(tmp_path: Path) -> None:
    """Another process is refused, or waits until the first has given the file its name; then it writes its own."""
    target = tmp_path / "archive"
    command = [sys.executable, "-c", WRITES, str(target)]
    with new_file(target, wait=False) as partial:
        partial.write_text("first")
        refused = subprocess.run([*command, "refuse"], capture_output=True, text=True, check=False)
        assert f"another process is writing {target}" in refused.stderr
        waiting = subprocess.Popen([*command, "wait"])
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        assert partial.read_text() == "first"
    assert waiting.wait(60) == 0
    assert target.read_text() == "second"
    assert everything(tmp_path) == ["archive"]


def test_file_that_a_killed_process_left(tmp_path: Path) -> None:
    """What was left of a file is no part of the next one."""
    (tmp_path / ".archive.tagship.partial").write_text("a long half of something else")
    with new_file(tmp_path / "archive", wait=False) as partial:
        assert partial.read_text() == ""
    assert (tmp_path / "archive").read_text() == ""


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_new_file_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """On any error nothing is left, and what was there stays, also when nothing was written yet."""
    write_text(tmp_path / "there", "old")
    for name in ("there", "new"):
        with pytest.raises(error), new_file(tmp_path / name) as partial:
            partial.write_text("half")
            raise error
    with pytest.raises(error), new_file(tmp_path / "new"):
        raise error
    assert everything(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "old"


def test_text_and_json(tmp_path: Path) -> None:
    """Text is UTF-8 with its newlines as they are; JSON has two spaces, its keys in order and a newline at the end."""
    write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == "é\r\n\n".encode()
    write_json(tmp_path / "b", {"z": ["é"], "a": None})
    assert (tmp_path / "b").read_bytes() == '{\n  "z": [\n    "é"\n  ],\n  "a": null\n}\n'.encode()


def test_json_that_cannot_be_written(tmp_path: Path) -> None:
    """What is no JSON leaves no file."""
    with pytest.raises(TypeError):
        write_json(tmp_path / "a", {"a": object()})
    assert everything(tmp_path) == []


# Copies and hashes


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_copies_of_any_size(tmp_path: Path, size: int) -> None:
    """A copy has the bytes of its source, whatever was there before, and all of them are counted."""
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "target").write_bytes(bytes(size + 10))
    counted: list[int] = []
    copy_file(tmp_path / "source", tmp_path / "target", counted.append)
    assert (tmp_path / "target").read_bytes() == data
    assert sum(counted) == size
    assert sha256_of(tmp_path / "target") == hashlib.sha256(data).hexdigest()


def test_copies_have_a_mode_of_their_own(tmp_path: Path) -> None:
    """A copy takes neither mode nor times from its source."""
    (tmp_path / "source").write_text("a")
    (tmp_path / "source").chmod(0o755)
    os.utime(tmp_path / "source", (0, 0))
    copy_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").stat().st_mode & 0o111 == 0
    assert (tmp_path / "target").stat().st_mtime > 0


@pytest.mark.parametrize(("start", "length", "at"), [(0, 10, 0), (3, 4, 0), (0, 10, 5), (9, 1, 20), (5, 0, 3)])
def test_ranges(tmp_path: Path, start: int, length: int, at: int) -> None:
    """A range of one file goes to any place of another, and the bytes around it stay."""
    (tmp_path / "source").write_bytes(b"0123456789")
    (tmp_path / "target").write_bytes(b"." * 30)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("r+b") as target:
        copy_range(source.fileno(), target.fileno(), start, length, at)
    expected = b"." * at + b"0123456789"[start : start + length] + b"." * (30 - at - length)
    assert (tmp_path / "target").read_bytes() == expected


# In blocks of a file system: where a range begins in both files, its length, and its whole blocks.
IN_BLOCKS = [
    (0.0, 0.0, 3.0, (0, 3)),
    (0.25, 0.25, 3.0, (1, 2)),
    (0.25, 2.25, 3.5, (1, 2)),
    (1.0, 0.0, 2.75, (1, 2)),
    (0.25, 0.5, 4.0, None),
    (0.25, 0.25, 0.5, None),
    (0.25, 0.25, 0.75, None),
    (0.0, 0.0, 0.5, None),
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have these calls")
@pytest.mark.parametrize(("start", "at", "length", "whole"), IN_BLOCKS)
def test_whole_blocks_can_be_shared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: float,
    at: float,
    length: float,
    whole: tuple[int, int] | None,
) -> None:
    """Where a range lies alike in both files, the file system is asked for its whole blocks and for the rest apart:
    asked for all together, it would share none."""
    block = os.statvfs(tmp_path).f_frsize
    asked: list[tuple[int, int, int]] = []
    kernel_copies = os.copy_file_range

    def copies(source: int, target: int, count: int, from_: int, to: int) -> int:
        asked.append((from_, count, to))
        return kernel_copies(source, target, count, from_, to)

    def shares(target: int, request: int, packed: bytes) -> None:
        _, from_, count, to = struct.unpack("qQQQ", packed)
        asked.append((from_, count, to))

    data = os.urandom(6 * block)
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "target").write_bytes(b".")
    begin, place, size = int(start * block), int(at * block), int(length * block)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("r+b") as target:
        monkeypatch.setattr(os, "copy_file_range", copies)
        copy_range(source.fileno(), target.fileno(), begin, size, place)
        alike = [part for part in asked if part[0] % block == part[1] % block == part[2] % block == 0]
        asked.clear()
        monkeypatch.setattr("fcntl.ioctl", shares)
        assert share_range(source.fileno(), target.fileno(), begin, size, place) == bool(whole)
    expected = [(whole[0] * block, whole[1] * block, place - begin + whole[0] * block)] if whole else []
    assert alike == expected
    assert asked == expected
    assert (tmp_path / "target").read_bytes()[place : place + size] == data[begin : begin + size]


def test_sharing_changes_no_bytes(tmp_path: Path) -> None:
    """A file system that can share gives the target the source's bytes; one that cannot leaves it alone."""
    block = os.statvfs(tmp_path).f_frsize
    data, before = os.urandom(4 * block), b"." * 4 * block
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "target").write_bytes(before)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("r+b") as target:
        shared = share_range(source.fileno(), target.fileno(), 100, 3 * block, 100)
    expected = before[:block] + data[block : 3 * block] + before[3 * block :] if shared else before
    assert (tmp_path / "target").read_bytes() == expected


@pytest.mark.parametrize(("start", "length", "missing"), [(0, 11, 1), (8, 5, 3), (20, 4, 4), (0, 100 << 20, None)])
def test_source_that_ends_too_early(tmp_path: Path, start: int, length: int, missing: int | None) -> None:
    """A source that is shorter than the range is an OSError that counts what is missing, never a short copy."""
    (tmp_path / "source").write_bytes(b"0123456789")
    with (
        (tmp_path / "source").open("rb") as source,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(OSError, match=f"ended {missing if missing is not None else length - 10} bytes before"),
    ):
        copy_range(source.fileno(), target.fileno(), start, length, 0)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="there is no /proc")
def test_copy_without_the_kernel(tmp_path: Path) -> None:
    """From a file system that the kernel cannot copy from, as /proc, the bytes are read and written."""
    expected = Path("/proc/version").read_bytes()
    with Path("/proc/version").open("rb") as source, (tmp_path / "target").open("wb") as target:
        copy_range(source.fileno(), target.fileno(), 0, len(expected), 0)
    assert (tmp_path / "target").read_bytes() == expected


def test_hash_is_counted(tmp_path: Path) -> None:
    """Hashing counts every byte once."""
    (tmp_path / "a").write_bytes(bytes(BLOCK + 7))
    counted: list[int] = []
    sha256_of(tmp_path / "a", counted.append)
    assert sum(counted) == BLOCK + 7


# Listing


def test_files_below_are_in_one_order(tmp_path: Path) -> None:
    """Files of all subfolders are sorted by their names in POSIX form, character by character; folders are no files."""
    names = ["b", "a/z", "a-b", "a.b", "a/sub/x", "Z", "é", "a b"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
    assert found == ["Z", "a b", "a-b", "a.b", "a/sub/x", "a/z", "b", "é"]


def test_set_aside(tmp_path: Path) -> None:
    """A file of that length, whose room on the disk is its own already where the file system can do that."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        set_aside(file.fileno(), 1 << 20)
    assert path.read_bytes() == bytes(1 << 20)


def test_set_aside_nothing(tmp_path: Path) -> None:
    """An empty file needs no room."""
    with (tmp_path / "file").open("wb") as file:
        set_aside(file.fileno(), 0)
    assert (tmp_path / "file").stat().st_size == 0


def test_set_aside_more_than_there_is(tmp_path: Path) -> None:
    """More than the disk can hold is refused at once."""
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError):
        set_aside(file.fileno(), 1 << 50)


# Links


def test_link_is_the_same_file(tmp_path: Path) -> None:
    """A link takes no room: it is the very file; replacing one of the two leaves the other."""
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    link_file(source, tmp_path / "link")
    assert source.samefile(tmp_path / "link")
    write_text(source, "others")
    assert (tmp_path / "link").read_bytes() == b"weights"


@pytest.mark.parametrize("refused", [errno.EXDEV, errno.EPERM])
def test_link_elsewhere_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    """Where there can be no link, as between file systems, the bytes are copied."""

    def link(source: Path, target: Path) -> None:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "source").write_bytes(b"weights")
    link_file(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"
    assert not (tmp_path / "source").samefile(tmp_path / "copy")


def test_link_onto_a_file(tmp_path: Path) -> None:
    """A name that is taken is left as it is."""
    for name in ("source", "taken"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        link_file(tmp_path / "source", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "taken"


def test_scratch_folders(tmp_path: Path) -> None:
    """A scratch folder is made when it is asked for, is the same one until the block ends, and then is gone."""
    parent = tmp_path / "exports"
    with ScratchFolders("beside") as folders:
        assert not parent.exists()
        made = folders.inside(parent)
        (made / "base.gguf").touch()
        assert folders.inside(parent) == made and list(parent.iterdir()) == [made]
    assert list(parent.iterdir()) == []
