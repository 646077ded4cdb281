"""Scratch folders that the steps of a task share."""

from contextlib import ExitStack
from pathlib import Path

from tagship.system.files import scratch_folder


class ScratchFolders:
    """Scratch folders of one name, each made when it is first asked for; all are gone with the `with` block."""

    def __init__(self, name: str) -> None:
        self._name, self._owned = name, ExitStack()
        self._made: dict[Path, Path] = {}

    def __enter__(self) -> "ScratchFolders":
        return self

    def __exit__(self, *raised: object) -> None:
        self._made.clear()
        self._owned.close()

    def inside(self, parent: Path) -> Path:
        """The one in a folder, which is made where it is not there."""
        if parent not in self._made:
            parent.mkdir(parents=True, exist_ok=True)
            self._made[parent] = self._owned.enter_context(scratch_folder(self._name, parent))
        return self._made[parent]
