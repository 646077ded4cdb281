"""SHA-256 of large files that hardly ever change, remembered: a base model is hashed once, not by each command."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagship.system.files import locked, sha256_of, write_json
from tagship.system.progress import Advance, silent

LARGE = 1 << 20
"""Bytes of a file from which on it is looked up: smaller ones are hashed faster."""
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
        shows = seen(path)
        if shows[0] < LARGE:
            return sha256_of(path)
        known = self._read().get(str(path.resolve()))
        if isinstance(known, dict) and known.get("seen") == shows and isinstance(known.get("sha256"), str):
            return str(known["sha256"])
        began = time.time_ns()
        digest = sha256_of(path, self._advance)
        if not self._reads and seen(path) == shows and max(shows[1:3]) < began - _RECENT:
            self._remember(path, {"seen": shows, "sha256": digest})
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


def seen(path: Path) -> list[int]:
    """What a file that was changed would show: its size in bytes, its times in nanoseconds, its number on the disk."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
