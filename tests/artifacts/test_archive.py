"""Reproducible archives and their checksums, checked by tar, gzip and sha256sum themselves."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from tagship.artifacts.archive import SUMS_FILE, Archive, record_checksum, write_archive
from tagship.system.errors import ReleaseError
from tagship.system.files import files_below, sha256_of

MOMENT = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
FILES = {
    "config.json": b"{}\n",
    "empty": b"",
    "sub/two words.txt": b"two\n",
    "sub/deeper/é\u4e2d.bin": bytes(range(256)) * 7000,  # more than one block of the archive
    "sub-dash": b"-",
    "x" * 120: b"a name longer than tar's first 100 bytes",
}


def write_tree(folder: Path, names: list[str]) -> Path:
    """The files above, created in the given order."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "model-v1", list(FILES))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


# The same bytes


def test_two_writes_give_equal_bytes(tree: Path, tmp_path: Path) -> None:
    """The same folder packed twice is the same file."""
    one, two = (write_archive(tree, tmp_path / name, MOMENT) for name in ("1.tar.gz", "2.tar.gz"))
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.sha256 == two.sha256


def test_what_is_of_this_machine_does_not_matter(tree: Path, tmp_path: Path) -> None:
    """Order of creation, times, modes, umask, empty folders and the place on the disk leave the bytes as they are."""
    first = write_archive(tree, tmp_path / "1.tar.gz", MOMENT)
    before = os.umask(0o077)
    try:
        other = write_tree(tmp_path / "elsewhere" / "model-v1", list(reversed(FILES)))
        (other / "sub" / "nothing in it").mkdir()
        for number, path in enumerate(sorted(other.rglob("*"))):
            os.utime(path, (number, number))
            if path.is_file():
                path.chmod(0o755 if number % 2 else 0o600)
        second = write_archive(other, tmp_path / "2.tar.gz", MOMENT)
    finally:
        os.umask(before)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_time_zone_does_not_matter(tree: Path, tmp_path: Path) -> None:
    """The same moment written in another time zone gives the same bytes."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    one = write_archive(tree, tmp_path / "1.tar.gz", MOMENT)
    two = write_archive(tree, tmp_path / "2.tar.gz", elsewhere)
    assert one.sha256 == two.sha256


WITH_CORES = """
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from tagship.artifacts.archive import write_archive
from tagship.system.pool import cores
os.sched_getaffinity = lambda _: set(range(int(sys.argv[1])))
assert cores() == int(sys.argv[1])
print(write_archive(Path(sys.argv[2]), Path(sys.argv[3]), datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)).sha256)
"""


def test_number_of_cores_does_not_matter(tree: Path, tmp_path: Path) -> None:
    """Machines with one, two and seven cores make the same bytes."""
    digests = [
        run(sys.executable, "-c", WITH_CORES, cores, str(tree), str(tmp_path / f"{cores}.tar.gz"), cwd=tmp_path).stdout
        for cores in ("1", "2", "7")
    ]
    assert digests[0].strip() == write_archive(tree, tmp_path / "here.tar.gz", MOMENT).sha256
    assert digests[1:] == digests[:1] * 2


def test_what_does_matter(tree: Path, tmp_path: Path) -> None:
    """Another time, another folder name and another byte each give another file."""
    first = write_archive(tree, tmp_path / "1.tar.gz", MOMENT)
    later = write_archive(tree, tmp_path / "2.tar.gz", MOMENT + timedelta(seconds=1))
    renamed = write_archive(tree.rename(tmp_path / "model-v2"), tmp_path / "3.tar.gz", MOMENT)
    (tmp_path / "model-v2" / "empty").write_bytes(b"1")
    changed = write_archive(tmp_path / "model-v2", tmp_path / "4.tar.gz", MOMENT)
    assert len({first.sha256, later.sha256, renamed.sha256, changed.sha256}) == 4


# What others make of it


def test_tar_unpacks_it(tree: Path, tmp_path: Path) -> None:
    """tar unpacks the same files below one folder, and gzip finds it whole."""
    write_archive(tree, tmp_path / "a.tar.gz", MOMENT)
    out = tmp_path / "out"
    out.mkdir()
    assert run("gzip", "-t", "../a.tar.gz", cwd=out).stderr == ""
    unpacked = run("tar", "-xzf", "../a.tar.gz", cwd=out)
    assert (unpacked.returncode, unpacked.stderr) == (0, "")
    assert [path.name for path in out.iterdir()] == ["model-v1"]
    assert content(out / "model-v1") == FILES


def test_python_unpacks_it(tree: Path, tmp_path: Path) -> None:
    """Python's tarfile sees sorted files of nobody's, with fixed modes, at the one moment."""
    write_archive(tree, tmp_path / "a.tar.gz", MOMENT)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "out", filter="data")
    assert content(tmp_path / "out" / "model-v1") == FILES
    assert [member.name for member in members] == ["model-v1", *(f"model-v1/{name}" for name in sorted(FILES))]
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {member.mode for member in members} == {0o755, 0o644}
    assert {member.mtime for member in members} == {int(MOMENT.timestamp())}


def test_gzip_header_holds_nothing_of_this_machine(tree: Path, tmp_path: Path) -> None:
    """The gzip header has neither a time nor a file's name."""
    write_archive(tree, tmp_path / "a.tar.gz", MOMENT)
    no_flags, no_time = 0, bytes(4)
    assert (tmp_path / "a.tar.gz").read_bytes()[:8] == bytes([0x1F, 0x8B, 8, no_flags]) + no_time


def test_size_and_checksum(tree: Path, tmp_path: Path) -> None:
    """What write_archive tells is true of the file, and it counts the bytes of the files that went in."""
    counted: list[int] = []
    archive = write_archive(tree, tmp_path / "a.tar.gz", MOMENT, counted.append)
    data = archive.path.read_bytes()
    assert archive == Archive(path=tmp_path / "a.tar.gz", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert sum(counted) == sum(map(len, FILES.values()))


def test_empty_folder(tmp_path: Path) -> None:
    """A folder without files is an archive with that folder."""
    (tmp_path / "nothing").mkdir()
    write_archive(tmp_path / "nothing", tmp_path / "a.tar.gz", MOMENT)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert tar.getnames() == ["nothing"]


def test_failure_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    """When a file cannot be read nothing new is left, and an older archive of the name stays."""
    write_archive(tree, tmp_path / "dist" / "old.tar.gz", MOMENT)
    before = content(tmp_path / "dist")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    for name in ("old.tar.gz", "new.tar.gz"):
        with pytest.raises(KeyboardInterrupt):
            write_archive(tree, tmp_path / "dist" / name, MOMENT, interrupt)
    assert content(tmp_path / "dist") == before


def test_compressed(tmp_path: Path) -> None:
    """What can be compressed is."""
    (tmp_path / "zeros").mkdir()
    (tmp_path / "zeros" / "a").write_bytes(bytes(3 << 20))
    archive = write_archive(tmp_path / "zeros", tmp_path / "a.tar.gz", MOMENT)
    assert archive.size < 100_000
    assert len(gzip.decompress(archive.path.read_bytes())) > 3 << 20


# Checksums


def pack(folder: Path, name: str) -> Archive:
    source = folder / "source" / name
    source.mkdir(parents=True)
    (source / "a").write_text(name)
    return write_archive(source, folder / "dist" / f"{name}.tar.gz", MOMENT)


def sums(folder: Path) -> list[str]:
    return (folder / "dist" / SUMS_FILE).read_text().splitlines()


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is of GNU coreutils")
def test_sha256sum_checks_it(tmp_path: Path) -> None:
    """sha256sum --check passes, and fails once an archive was changed."""
    archives = [pack(tmp_path, name) for name in ("b", "a")]
    for archive in archives:
        assert record_checksum(archive) == tmp_path / "dist" / SUMS_FILE
    checked = run("sha256sum", "--check", "--strict", SUMS_FILE, cwd=tmp_path / "dist")
    assert (checked.returncode, checked.stdout) == (0, "a.tar.gz: OK\nb.tar.gz: OK\n")
    archives[0].path.write_bytes(b"changed")
    assert run("sha256sum", "--check", SUMS_FILE, cwd=tmp_path / "dist").returncode == 1


def test_lines_of_other_archives_stay(tmp_path: Path) -> None:
    """A line is added or replaced; lines of archives that are there stay, those of archives that are gone do not."""
    first, second = pack(tmp_path, "first"), pack(tmp_path, "second")
    for archive in (first, second):
        record_checksum(archive)
    assert sums(tmp_path) == [f"{first.sha256}  first.tar.gz", f"{second.sha256}  second.tar.gz"]
    again = Archive(path=first.path, size=1, sha256="0" * 64)
    record_checksum(again)
    assert sums(tmp_path) == [f"{'0' * 64}  first.tar.gz", f"{second.sha256}  second.tar.gz"]
    first.path.unlink()
    record_checksum(second)
    assert sums(tmp_path) == [f"{second.sha256}  second.tar.gz"]


def test_lines_by_other_hands(tmp_path: Path) -> None:
    """Lines in sha256sum's binary form stay as checksums; empty lines, words and paths of what is gone are dropped."""
    archive = pack(tmp_path, "model")
    (tmp_path / "dist" / "by-hand.bin").write_text("x")
    (tmp_path / "dist" / SUMS_FILE).write_text(
        f"\n# words\n{'1' * 64} *by-hand.bin\n{'2' * 64}  gone.bin\n{'3' * 64}  sub/gone.bin\n{'4' * 64}\n"
    )
    record_checksum(archive)
    assert sums(tmp_path) == [f"{'1' * 64}  by-hand.bin", f"{archive.sha256}  model.tar.gz"]


# What cannot be packed


def test_file_that_becomes_shorter(tmp_path: Path) -> None:
    """A file that is cut off while it is packed ends the archive, and nothing of it is left."""
    folder = write_tree(tmp_path / "model", ["config.json"])
    (folder / "weights").write_bytes(bytes(5 << 20))

    def cut(done: int) -> None:
        if done > len(FILES["config.json"]):
            os.truncate(folder / "weights", 1 << 20)

    with pytest.raises(ReleaseError, match="weights became shorter while it was packed"):
        write_archive(folder, tmp_path / "dist" / "1.tar.gz", MOMENT, cut)
    assert list((tmp_path / "dist").iterdir()) == []


def test_archive_that_cannot_be_written(tmp_path: Path, tree: Path) -> None:
    """What the system says is told, with the folder that was to be packed."""
    (tmp_path / "dist").write_text("a file")
    with pytest.raises(ReleaseError, match=r"model-v1 could not be packed into .*1\.tar\.gz: .*File exists"):
        write_archive(tree, tmp_path / "dist" / "1.tar.gz", MOMENT)


RECORD = """
import sys
from pathlib import Path
from tagship.artifacts.archive import Archive, record_checksum
for number in range(30):
    path = Path(sys.argv[1], f"{sys.argv[2]}-{number}.tar.gz")
    path.touch()
    record_checksum(Archive(path=path, size=0, sha256="0" * 64))
"""


def test_several_processes_at_a_time(tmp_path: Path) -> None:
    """No line of SHA256SUMS is lost where several processes pack into one folder."""
    processes = [subprocess.Popen([sys.executable, "-c", RECORD, tmp_path, name]) for name in ("a", "b", "c")]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len((tmp_path / SUMS_FILE).read_text().splitlines()) == 90


def test_file_that_was_changed(tree: Path, tmp_path: Path) -> None:
    """A file that is not what its digest says is named, and the archive that was there stays."""
    digests = {path.relative_to(tree).as_posix(): sha256_of(path) for path in files_below(tree)}
    archive = write_archive(tree, tmp_path / "a.tar.gz", MOMENT, digests=digests)
    name = next(name for name in digests if (tree / name).stat().st_size)
    data = (tree / name).read_bytes()
    (tree / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ReleaseError, match=f"{name} was changed since it was exported") as caught:
        write_archive(tree, tmp_path / "a.tar.gz", MOMENT, digests=digests)
    assert "export it again" in str(caught.value.remedy)
    (tree / name).unlink()
    with pytest.raises(ReleaseError, match=f"{name} is missing"):
        write_archive(tree, tmp_path / "a.tar.gz", MOMENT, digests=digests)
    assert sha256_of(archive.path) == archive.sha256
    assert [path.name for path in tmp_path.glob(".*")] == []
