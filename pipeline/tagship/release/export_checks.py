"""Exports that are there already: whether they are what was exported, seen while something else is done."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import MANIFEST_FILE, Manifest
from tagship.release.targets import Target
from tagship.system.console import Console
from tagship.system.pool import Beside
from tagship.system.progress import Advance


class ExportChecks:
    """Compares the digests of exports in a thread, which takes as long as reading them: the smallest first, as they are
    what writes drafts. Whoever uses one waits until it is known to be whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._beside = Beside()
        self._added: list[tuple[Target, Manifest]] = []
        self._begun: dict[Path, Callable[[], None]] = {}

    def __enter__(self) -> "ExportChecks":
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.__exit__()

    def add(self, target: Target, manifest: Manifest) -> None:
        """Have an export looked at. Raises ReleaseError at once for files that are missing or of another size."""
        check_files(target.export_dir, manifest, hashes=False)
        self._added.append((target, manifest))

    def begin(self) -> None:
        """Look at what was added."""
        for target, manifest in sorted(self._added, key=lambda added: added[1].size):
            self._begun[target.export_dir] = self._beside.begin(partial(_check, target, manifest))
        self._added.clear()

    def wait(self, target: Target) -> None:
        """Until an export is known to be whole; at once where that is known, or was not asked for. Raises ReleaseError
        for one that is not what was exported."""
        self.begin()
        if (result := self._begun.pop(target.export_dir, None)) is not None:
            result()
            self._console.note(f"{target.name}: as {MANIFEST_FILE} says")


def _check(target: Target, manifest: Manifest, advance: Advance) -> None:
    check_files(target.export_dir, manifest, advance=advance)
