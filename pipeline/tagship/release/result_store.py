"""Where the results of units are: a folder that all who work on a release see, or that is carried from job to job.

A result is a few files under a name, and is there whole or not at all.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tagship.system.disk import check_writable
from tagship.system.files import files_below, link_file, new_folder


class ResultStore(Protocol):
    """Keeps files by the names of results (POSIX, relative). Where the place itself fails, ToolError is raised."""

    @property
    def place(self) -> str:
        """Where it is, as people see it: a folder, or an address without passwords."""

    def check(self) -> None:
        """Raise ReleaseError where nothing could be put."""

    def put(self, name: str, files: Mapping[str, Path]) -> None:
        """Keep files under a name, by their paths below it: in place of what it had, all of them or none."""

    def has(self, name: str) -> bool:
        """Whether there is a result of that name."""

    def get(self, name: str, folder: Path) -> bool:
        """Put what a name has into an empty folder; returns whether it has anything. Raises ReleaseError where that is
        not what was put there."""

    def remove(self, name: str) -> None:
        """Have a name no longer, if it is there."""


class FolderStore:
    """Results in a folder. What is put there and got from there on one file system is linked, and takes no room."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        return str(self.root)

    def check(self) -> None:
        check_writable([self.root])

    def put(self, name: str, files: Mapping[str, Path]) -> None:
        with new_folder(self.root / name) as folder:
            _link_all(files, folder)

    def has(self, name: str) -> bool:
        return (self.root / name).is_dir()

    def get(self, name: str, folder: Path) -> bool:
        kept = self.root / name
        if not kept.is_dir():
            return False
        _link_all({path.relative_to(kept).as_posix(): path for path in files_below(kept)}, folder)
        return True

    def remove(self, name: str) -> None:
        shutil.rmtree(self.root / name, ignore_errors=True)


def _link_all(files: Mapping[str, Path], folder: Path) -> None:
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        link_file(source, folder / path)
