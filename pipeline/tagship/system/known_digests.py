"""SHA-256 of large files that hardly ever change, remembered: a base model is hashed once, not by each command."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagship.system.files import locked, sha256_of, write_json
from tagship.system.progress import Advance, silent

# Smaller files are hashed faster than looked up.
_LARGE = 1 << 20
# Nanoseconds: a file that was changed so short a time ago may be changed once more without showing another time.
_RECENT = 2_000_000_000


class KnownDigests:
    """What is remembered in a file of JSON: for each path what its file was like, and its digest then. What is new is
    not written where it only `reads`; `advance` counts the bytes of large files that are hashed."""

    def __init__(self, memory: Path, *, reads: bool = False, advance: Advance = silent) -> None:
        self._memory, self._reads, self._advance = memory, reads, advance

    def of(self, path: Path) -> str:
        """The SHA-256 of a file, in hexadecimal: as it was, where the file is the one that was hashed by its size, its
        times and its number on the disk."""
        seen = _seen(path)
        if seen[0] < _LARGE:
            return sha256_of(path)
        known = self._read().get(str(path.resolve()))
        if isinstance(known, dict) and known.get("seen") == seen and isinstance(known.get("sha256"), str):
            return str(known["sha256"])
        began = time.time_ns()
        digest = sha256_of(path, self._advance)
        if not self._reads and _seen(path) == seen and max(seen[1:3]) < began - _RECENT:
            self._remember(path, {"seen": seen, "sha256": digest})
        return digest

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):  # there is none yet, or it is damaged: files are hashed again
            if isinstance(found := json.loads(self._memory.read_text(encoding="utf-8")), dict):
                return found
        return {}

    def _remember(self, path: Path, what: dict[str, Any]) -> None:
        with suppress(OSError):  # a folder that cannot be written only makes the next command slower
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._memory.parent):
                kept = {name: known for name, known in self._read().items() if Path(name).is_file()}
                write_json(self._memory, kept | {str(path.resolve()): what})


def _seen(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
