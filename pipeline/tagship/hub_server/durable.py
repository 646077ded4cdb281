"""What is acknowledged is on the disk: the bytes of files, and the names that they have got."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_AT_ONCE = 16


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """The same for all that is in a folder; meant for small ones."""
    paths = [folder, *folder.rglob("*")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # the file system writes for all that wait at once
        list(pool.map(sync, paths))


def sync_names(path: Path, *, below: Path) -> None:
    """Wait until the name of `path` is on the disk, and those of the folders between it and `below`."""
    while path != below and path != path.parent:
        path = path.parent
        if path.is_dir():
            sync(path)


def make_folder(path: Path) -> None:
    """The folder, and those above it that are not there: for their owner only, and on the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def place(source: Path, target: Path) -> None:
    """Give a finished file its name, so that after a power cut it is whole or not there."""
    make_folder(target.parent)
    sync(source)
    os.replace(source, target)
    sync(target.parent)
