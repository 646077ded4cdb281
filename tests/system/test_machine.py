"""What the machine has left: disk, and memory within its control groups."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tagship.system.machine import available_memory, device_of, free_disk, memory_of_children

MB = 1 << 20


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """A file system's root with /proc and /sys as the kernel shows them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_of_this_machine() -> None:
    """There is some memory, and no more than the machine has."""
    assert 0 < available_memory() <= psutil.virtual_memory().total


def test_no_control_groups(tmp_path: Path) -> None:
    """Without control groups it is what the system has left."""
    found = available_memory(tmp_path)
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.5)


def test_control_group_v2(tmp_path: Path) -> None:
    """A group's limit less its use is what is left; page cache that can be dropped is no use."""
    files = {
        "proc/self/cgroup": "0::/ci/job\n",
        "sys/fs/cgroup/ci/job/memory.max": f"{64 * MB}\n",
        "sys/fs/cgroup/ci/job/memory.current": f"{40 * MB}\n",
        "sys/fs/cgroup/ci/job/memory.stat": f"anon 1\ninactive_file {10 * MB}\nactive_file 5\n",
    }
    assert available_memory(write_tree(tmp_path, files)) == 34 * MB


def test_root_of_a_container(tmp_path: Path) -> None:
    """A container sees its own group as the root."""
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{64 * MB}",
        "sys/fs/cgroup/memory.current": f"{MB}",
    }
    assert available_memory(write_tree(tmp_path, files)) == 63 * MB


def test_limit_of_an_outer_group(tmp_path: Path) -> None:
    """The limit of a group around this one counts too, and the smallest remainder decides."""
    files = {
        "proc/self/cgroup": "0::/slice/service\n",
        "sys/fs/cgroup/slice/memory.max": f"{32 * MB}",
        "sys/fs/cgroup/slice/memory.current": f"{30 * MB}",
        "sys/fs/cgroup/slice/service/memory.max": f"{64 * MB}",
        "sys/fs/cgroup/slice/service/memory.current": f"{MB}",
    }
    assert available_memory(write_tree(tmp_path, files)) == 2 * MB


def test_group_without_a_limit(tmp_path: Path) -> None:
    """The word `max` is no limit."""
    files = {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/memory.max": "max\n",
        "sys/fs/cgroup/job/memory.current": f"{MB}\n",
    }
    assert available_memory(write_tree(tmp_path, files)) > 64 * MB


@pytest.mark.parametrize("group", ["/docker/abc", "/"])
def test_control_group_v1(tmp_path: Path, group: str) -> None:
    """The older hierarchy is read by its own names, be the group's own folder visible or only the container's."""
    files = {
        "proc/self/cgroup": f"5:cpu,cpuacct:/docker/abc\n4:memory:{group}\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{32 * MB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {2 * MB}\n",
    }
    assert available_memory(write_tree(tmp_path, files)) == 34 * MB


def test_group_over_its_limit(tmp_path: Path) -> None:
    """A group that uses more than its limit has nothing left, not less."""
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "10",
        "sys/fs/cgroup/memory.current": "20",
    }
    assert available_memory(write_tree(tmp_path, files)) == 0


def test_disk_of_a_folder_to_come(tmp_path: Path) -> None:
    """The disk of a folder that does not exist yet is that of the nearest folder above it."""
    assert free_disk(tmp_path / "a" / "b") == pytest.approx(free_disk(tmp_path), rel=0.5)
    assert free_disk(tmp_path) > 0
    assert device_of(tmp_path / "a" / "b") == tmp_path.stat().st_dev


def test_disk_of_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is on the disk of where one is."""
    monkeypatch.chdir(tmp_path)
    assert device_of(Path("missing")) == tmp_path.stat().st_dev


def test_memory_of_children() -> None:
    """What a process that was started holds counts until it has ended; what it maps of files does not."""
    before = memory_of_children()
    command = [sys.executable, "-c", "held = bytearray(100 << 20); print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        assert 100 << 20 <= memory_of_children() - before <= 200 << 20
        child.communicate(b"\n")
    assert memory_of_children() <= before + (50 << 20)
