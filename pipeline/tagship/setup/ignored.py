"""Lines of .gitignore for what a release makes: a model's exports are no source, and hundreds of megabytes."""

from pathlib import Path

from tagship.policy.config import Config
from tagship.setup.changes import Change, appended, keep, write

IGNORE_FILE = ".gitignore"
_COMMENT = "# What a release makes here: exports, archives, and the embedded Hub with the state for going on.\n"


def ignore_change(config: Config, present: str | None) -> Change:
    """The lines that a .gitignore lacks; `present` is its text, None where there is none."""
    wanted = [line for folder in config.own_folders if (line := _line(folder, config.root))]
    there = {_plain(line) for line in (present or "").splitlines()}
    lacking = [line for line in wanted if _plain(line) not in there]
    if not lacking:
        return keep(IGNORE_FILE, "it has the folders of releases already")
    text, why = _COMMENT + "".join(f"{line}\n" for line in lacking), f"so that git passes over {', '.join(lacking)}"
    return write(IGNORE_FILE, text, why) if present is None else appended(IGNORE_FILE, present, text, why)


def _line(folder: Path, root: Path) -> str | None:
    return f"/{folder.relative_to(root).as_posix()}/" if folder.is_relative_to(root) and folder != root else None


def _plain(line: str) -> str:
    return line.strip().strip("/").removesuffix("/*").removesuffix("/**")
