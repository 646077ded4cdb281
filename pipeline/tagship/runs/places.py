"""Where training runs are: folders in a folder, or those that a pattern with wildcards fits."""

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from msgspec import Struct

from tagship.weights.adapter_config import CONFIG_FILE

_WILD = re.compile(r"[*?\[]")
# What transformers' Trainer calls what it saves on the way, with the number of steps.
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class RunPlaces(Struct, frozen=True, kw_only=True):
    """The folders below `root`, so many `parts` deep, each part of whose path fits: `adapters` is every folder in it,
    `outputs/*/checkpoint-*` those of every folder in `outputs`. A `root` that has an adapter itself is the only run."""

    root: Path
    parts: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "RunPlaces":
        """The places that `[project] runs` names. Raises ValueError for what it cannot."""
        wild = [place for place, part in enumerate(path.parts) if _WILD.search(part)]
        if not wild or path.is_dir():
            return cls(root=path, parts=("*",))
        first = wild[0]
        parts = path.parts[first:]
        if "**" in parts:
            raise ValueError("may not have **: say with * how deep runs lie, such as outputs/*/checkpoint-*")
        return cls(root=Path(*path.parts[:first]), parts=parts)

    def __str__(self) -> str:
        return str(self.root.joinpath(*self.parts))

    def folders(self) -> list[Path]:
        """Those that there are on this disk."""
        if not self.root.is_dir():
            return []
        if (self.root / CONFIG_FILE).is_file():
            return [self.root]
        return [path for path in self.root.glob("/".join(self.parts)) if path.is_dir()]

    def has(self, folder: Path) -> bool:
        """Whether a folder on this disk is one of them, or would be."""
        if not folder.is_relative_to(self.root):
            return False
        below = folder.relative_to(self.root)
        return folder == self.root if (self.root / CONFIG_FILE).is_file() else self.fits(below.as_posix())

    def fits(self, below: str) -> bool:
        """Whether a folder is one of them, by its path below `root`, as git writes it; empty for `root` itself."""
        parts = PurePosixPath(below).parts
        return len(parts) == len(self.parts) and all(map(fnmatchcase, parts, self.parts))

    def deeper(self) -> str | None:
        """A pattern of adapters that lie deeper than these places, where there are any."""
        pattern = "/".join((*self.parts, "*"))
        found = next(iter(sorted(self.root.glob(f"{pattern}/{CONFIG_FILE}"))), None) if self.root.is_dir() else None
        if found is None:
            return None
        last = "checkpoint-*" if checkpoint_step(found.parent.name) is not None else "*"
        return "/".join((*self.parts, last))


def checkpoint_step(name: str) -> int | None:
    """The number of steps in the name of a Trainer's checkpoint; None for another name."""
    found = _CHECKPOINT.fullmatch(name)
    return int(found[1]) if found else None
