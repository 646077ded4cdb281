"""Low-rank products that are added to bfloat16 in one pass."""

import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tagship.weights import low_rank
from tagship.weights.compiled import library_of
from tagship.weights.low_rank import LowRankSum, find_loops
from tagship.weights.scratch import Array

needs_loop = pytest.mark.skipif(not low_rank.can_add(), reason="no loop for this processor, or no compiler")


def drawn(rows: int, rank: int, columns: int) -> tuple[Array, Array, Array]:
    numbers = np.random.default_rng(rows + rank + columns)
    stored = numbers.standard_normal((rows, columns), np.float32).astype(ml_dtypes.bfloat16)
    left, right = (numbers.standard_normal(shape, np.float32) for shape in ((rows, rank), (rank, columns)))
    return stored, left, right


@needs_loop
@pytest.mark.parametrize(
    ("rows", "rank", "columns"),
    [(1, 1, 1), (6, 8, 32), (7, 16, 31), (48, 32, 96), (49, 5, 33), (100, 64, 200), (3, 0, 40), (0, 4, 40)],
)
def test_sums_are_rounded_once(rows: int, rank: int, columns: int) -> None:
    """Of any shape, each is one of the two numbers nearest to the exact sum, and the nearest but where that is a matter
    of the product's own rounding."""
    stored, left, right = drawn(rows, rank, columns)
    sums = np.empty_like(stored)
    assert LowRankSum(left, right).add(stored, 0, rows, sums)
    exact = stored.astype(np.float64) + left.astype(np.float64) @ right.astype(np.float64)
    step = np.abs(exact) * 2.0**-8 + 1e-6 * max(1, rank)
    assert (np.abs(sums.astype(np.float64) - exact) <= step).all()
    nearest = exact.astype(np.float32).astype(ml_dtypes.bfloat16)
    assert np.mean(nearest.view(np.uint16) != sums.view(np.uint16)) <= 0.01 if sums.size else True


@needs_loop
def test_blocks_of_rows_are_those_of_the_whole() -> None:
    """Rows come out the same, whichever block they are asked for in, and the factors may be of any layout."""
    stored, left, right = drawn(60, 12, 70)
    whole, some = np.empty_like(stored), np.empty_like(stored[:31])
    LowRankSum(left, right).add(stored, 0, 60, whole)
    turned = LowRankSum(np.asfortranarray(left), np.asfortranarray(right))
    turned.add(stored[29:].copy(), 29, 60, some)
    assert some.tobytes() == whole[29:].tobytes()


@needs_loop
@pytest.mark.parametrize("columns", [1, 32, 200])
@pytest.mark.parametrize("size", [1e-30, 0.01, 1, 30], ids=lambda size: f"product of {size}")
def test_the_largest_of_sums(columns: int, size: float) -> None:
    """It is that of what is written, whatever part of the product can be left out, and wherever rows point the same way
    as columns, so that a product is as large as their norms; what is known already is the least that comes."""
    stored, left, right = drawn(100, 8, columns)
    left *= np.float32(size)
    left[::7] = right[:, -1] * np.float32(size)
    summed, sums = LowRankSum(left, right), np.empty_like(stored)
    assert summed.add(stored, 0, 100, sums)
    sizes = np.abs(sums.astype(np.float64))
    assert summed.largest(stored, 0, 100, 0.0) == sizes.max()
    assert summed.largest(stored[29:].copy(), 29, 100, 0.0) == sizes[29:].max()
    assert summed.largest(stored, 0, 100, sizes.max()) == sizes.max()
    known = float(np.float32(1e30))  # of a matrix in another dtype
    assert summed.largest(stored, 0, 100, known) == known != float(np.float32(known).astype(ml_dtypes.bfloat16))


@needs_loop
@pytest.mark.parametrize("number", [np.inf, np.nan, 3.39e38])
def test_what_is_not_finite_is_told(number: float) -> None:
    """Also where the base is, or where a sum is rounded to infinity."""
    stored, left, right = drawn(9, 4, 40)
    sums = np.empty_like(stored)
    stored[8, 39] = number
    left[8], right[:, 39] = 1e18, 1e18
    assert not LowRankSum(left, right).add(stored, 0, 9, sums)
    assert LowRankSum(left, right).largest(stored, 0, 9, 0.0) == np.inf


@needs_loop
@pytest.mark.parametrize(
    ("change", "right"),
    [
        (("", ""), True),
        (("_mm256_set1_epi32(0x7FFF)", "_mm256_set1_epi32(0x7FF0)"), False),
        (("memcpy(at->rounded[row] + column,", "memmove(edge[row],"), False),
        (("PANEL / 2)", "PANEL)"), False),
        (("most_of(largest) < 0x7F7F8000", "1"), False),
        (("!(size <= most)", "size > 2 * most"), False),
        (("uint32_t tagship_low_rank_largest", "uint32_t of_an_older_version"), False),
    ],
    ids=str,
)
def test_a_loop_that_is_wrong(tmp_path: Path, change: tuple[str, str], right: bool) -> None:
    """A loop that makes something else on this machine is not used."""
    text = library_of("low_rank").with_name("low_rank.c").read_text()
    assert change[0] in text
    changed = text.replace(*change) if change[0] else text
    if "avx512f" in Path("/proc/cpuinfo").read_text():  # what is changed is the loop for AVX2
        changed = changed.replace("return add_avx512;", "return add_avx2;")
    (tmp_path / "changed.c").write_text(changed)
    compiled = tmp_path / "changed.so"
    subprocess.run(["cc", "-O1", "-std=c11", "-shared", "-fPIC", "-o", compiled, tmp_path / "changed.c"], check=True)
    assert (find_loops(compiled) is not None) == right


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_without_the_loop(tmp_path: Path) -> None:
    """A library that is not there, is none, or is not for this processor is not used."""
    library = tmp_path / "none.so"
    assert find_loops(library) is None
    library.write_bytes(b"for another machine")
    assert find_loops(library) is None
    (tmp_path / "none.c").write_text("int tagship_low_rank_begin(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "made.so", tmp_path / "none.c"], check=True)
    assert find_loops(tmp_path / "made.so") is None
