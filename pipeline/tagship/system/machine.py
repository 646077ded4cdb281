"""What this machine has left: memory and disk, in bytes."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def available_memory(root: Path = Path("/")) -> int:
    """The memory that a new process can use without swapping: what the system has left, or less
    where a control group (a container, a CI runner) limits this process. `root` has /proc and /sys."""
    system = int(psutil.virtual_memory().available)
    return min([system, *(max(0, limit - used) for limit, used in _cgroup_limits(root))])


def memory_of_children() -> int:
    """What the processes that this one has started hold, without what is of files."""
    held = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            memory = child.memory_info()
            held += max(0, memory.rss - getattr(memory, "shared", 0))
    return held


def free_disk(folder: Path) -> int:
    """The free space where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def this_boot(root: Path = Path("/")) -> str:
    """What tells this start of the machine from others: what was written before a crash may not be on the disk."""
    found = _lines(root / "proc/sys/kernel/random/boot_id")
    return found[0] if found else str(int(psutil.boot_time()))


def device_of(folder: Path) -> int:
    """The file system that `folder` is or will be on."""
    return next(path for path in (folder, *folder.parents) if path.exists()).stat().st_dev


def _cgroup_limits(root: Path) -> list[tuple[int, int]]:
    """Limit and use of each control group that limits memory. Page cache that can be dropped is
    no use. Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst."""
    limits = []
    for folder, limit_file, use_file, cache_key in _memory_groups(root):
        limit, use = ("".join(_lines(folder / name)).strip() for name in (limit_file, use_file))
        if limit.isdecimal() and use.isdecimal():  # "max" is no limit
            statistics = dict(line.split() for line in _lines(folder / "memory.stat"))
            limits.append((int(limit), int(use) - int(statistics.get(cache_key, 0))))
    return limits


def _memory_groups(root: Path) -> Iterator[tuple[Path, str, str, str]]:
    """The folders of this process's control groups and of those around them, with the names of their
    files. A container may see its own group as the root, whatever the group is called outside."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        for path in (Path(group), *Path(group).parents):
            inside = path.as_posix().lstrip("/")
            if not controllers:
                yield root / "sys/fs/cgroup" / inside, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                folder = root / "sys/fs/cgroup/memory" / inside
                yield folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
