"""A property of archives: what goes in comes out, whatever its names and sizes."""

import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.artifacts.archive import write_archive

MOMENT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)

parts = (
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=30)
    .filter(lambda part: part not in (".", ".."))
    .filter(lambda part: len(part.encode()) <= 100)
)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
# A few random bytes, repeated: sizes up to 2 MB are cheap to draw.
contents = st.builds(
    lambda seed, size: (seed * (size // len(seed) + 1))[:size],
    st.binary(min_size=1, max_size=64),
    st.one_of(st.just(0), st.integers(0, 3000), st.integers(0, 2 << 20)),
)


def is_tree(files: dict[str, bytes]) -> bool:
    """Whether no file is also a folder of another."""
    folders = {name.rsplit("/", depth)[0] for name in files for depth in range(1, name.count("/") + 1)}
    return not folders & files.keys()


@settings(max_examples=40, deadline=None)
@given(files=st.dictionaries(paths, contents, max_size=6).filter(is_tree))
def test_round_trip(files: dict[str, bytes]) -> None:
    """Any tree of files unpacks to the same names and bytes, and packs to the same bytes again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tree").mkdir()
        for path, data in files.items():
            (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / path).write_bytes(data)
        archive = write_archive(folder / "tree", folder / "a.tar.gz", MOMENT)
        with tarfile.open(archive.path) as tar:
            tar.extractall(folder / "out", filter="data")
        unpacked = folder / "out" / "tree"
        found = {path.relative_to(unpacked).as_posix(): path for path in unpacked.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == files
        assert write_archive(unpacked, folder / "b.tar.gz", MOMENT).sha256 == archive.sha256
