"""Digests of files that grow: whatever the order of what is written, it is the digest of the bytes."""

import hashlib
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.system.digesting import GrowingDigest

BYTES = bytes(range(256)) * 40_000  # ten megabytes: several readings


def fill(path: Path, digest: GrowingDigest, start: int, stop: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(BYTES[start:stop])
    digest.wrote(start, stop - start)


def empty(path: Path) -> Path:
    path.write_bytes(bytes(len(BYTES)))
    return path


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, len(BYTES)), max_size=8), seed=st.randoms())
def test_parts_in_any_order(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], seed: object) -> None:
    """Parts come as workers are done with them; some are empty."""
    path = empty(tmp_path_factory.mktemp("growing") / "file")
    edges = [0, *sorted(cuts), len(BYTES)]
    parts = list(pairwise(edges))
    seed.shuffle(parts)  # type: ignore[attr-defined]
    digest = GrowingDigest(path)
    for start, stop in parts:
        fill(path, digest, start, stop)
    digest.complete(len(BYTES))
    assert digest.hexdigest() == hashlib.sha256(BYTES).hexdigest()


def test_nothing_behind_a_gap_is_read(tmp_path: Path) -> None:
    """What is not there yet is not digested, however much there is behind it."""
    path = empty(tmp_path / "file")
    digest = GrowingDigest(path)
    fill(path, digest, 10, 9_000_000)
    fill(path, digest, 9_500_000, len(BYTES))
    fill(path, digest, 0, 10)
    digest.wait(0)  # for the first eight millions
    fill(path, digest, 9_000_000, 9_500_000)
    digest.complete(len(BYTES))
    assert digest.hexdigest() == hashlib.sha256(BYTES).hexdigest()


def test_a_gap_that_nobody_fills_is_zeros(tmp_path: Path) -> None:
    """When all is there, so is what was left as it was."""
    path = empty(tmp_path / "file")
    digest = GrowingDigest(path)
    fill(path, digest, 1000, len(BYTES))
    digest.complete(len(BYTES))
    assert digest.hexdigest() == hashlib.sha256(bytes(1000) + BYTES[1000:]).hexdigest()


def test_it_is_the_file_that_was_opened(tmp_path: Path) -> None:
    """A file gets its own name when it is whole, and its digest a little later."""
    path = empty(tmp_path / "file")
    digest = GrowingDigest(path)
    path.write_bytes(BYTES)
    path.rename(tmp_path / "whole")
    path.write_bytes(b"another")
    digest.complete(len(BYTES))
    assert digest.hexdigest() == hashlib.sha256(BYTES).hexdigest()


def test_a_file_that_was_cut_off_has_no_digest(tmp_path: Path) -> None:
    """Whoever wants one reads it, and sees; nobody waits for what will not come."""
    path = empty(tmp_path / "file")
    digest = GrowingDigest(path)
    os.truncate(path, 5)
    digest.complete(len(BYTES))
    digest.wait(0)
    assert digest.hexdigest() is None


def test_giving_up(tmp_path: Path) -> None:
    """What failed leaves no thread behind, and no digest."""
    path = empty(tmp_path / "file")
    before = threading.active_count()
    digest = GrowingDigest(path)
    fill(path, digest, 0, 1000)
    digest.give_up()
    assert threading.active_count() == before
    assert digest.hexdigest() is None
