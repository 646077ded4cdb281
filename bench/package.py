"""Packaging weights: our archive against `tar -czf`, and against pigz where it is installed."""

import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.checkpoint import make_apart
from bench.measure import best, python, table


def main() -> None:
    """Print the table, and the size of each archive."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        make_apart(folder, 1)
        size = sum(path.stat().st_size for path in (folder / "base").iterdir())
        sides = {
            "tagship": python("bench.package", "ours", name),
            "tar -czf": ["tar", "-czf", str(folder / "tar.tar.gz"), "-C", name, "base"],
        }
        if shutil.which("pigz"):
            archive = str(folder / "pigz.tar.gz")
            sides["tar, pigz"] = ["tar", "--use-compress-program=pigz", "-cf", archive, "-C", name, "base"]
        rows = [(side, best(command, 1)) for side, command in sides.items()]
        table(f"Packaging {size / 1e6:.0f} MB of bf16 weights", rows)
        print()
        for archive in sorted(folder.glob("*.tar.gz")):
            print(f"{archive.name}: {archive.stat().st_size / size:.3f} of the original size")


def ours(folder: Path) -> None:
    """Pack with tagship, checksum included."""
    from tagship.artifacts.archive import write_archive

    write_archive(folder / "base", folder / "ours.tar.gz", datetime.fromtimestamp(0, UTC))


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(Path(sys.argv[2]))
    else:
        main()
