"""What this machine has left: memory and disk, in bytes."""

import shutil
from pathlib import Path

import psutil


def available_memory() -> int:
    """The memory that a new process can use without swapping: what the system has left, or less
    where a control group (a container, a CI runner) limits this process."""
    system = int(psutil.virtual_memory().available)
    return min([system, *(max(0, limit - used) for limit, used in _cgroup_limits())])


def free_disk(folder: Path) -> int:
    """The free space where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def device_of(folder: Path) -> int:
    """The file system that `folder` is or will be on."""
    return next(path for path in (folder, *folder.parents) if path.exists()).stat().st_dev


def _cgroup_limits() -> list[tuple[int, int]]:
    """Limit and use of each control group that limits memory. Page cache that can be dropped is
    no use. Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst."""
    v2 = next((line.split(":", 2)[2] for line in _lines(Path("/proc/self/cgroup")) if line[:2] == "0:"), "/")
    groups = (
        (Path("/sys/fs/cgroup") / v2.lstrip("/"), "memory.max", "memory.current", "inactive_file"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    limits = []
    for folder, limit_file, use_file, cache_key in groups:
        limit, use = ("".join(_lines(folder / name)).strip() for name in (limit_file, use_file))
        if limit.isdecimal() and use.isdecimal():  # "max" is no limit
            statistics = dict(line.split() for line in _lines(folder / "memory.stat"))
            limits.append((int(limit), int(use) - int(statistics.get(cache_key, 0))))
    return limits


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
