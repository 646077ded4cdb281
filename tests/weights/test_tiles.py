"""Products of float32 with bfloat16 as it is, on processors that have tiles for that."""

import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tagship.weights import tiles
from tagship.weights.scratch import Array

needs_tiles = pytest.mark.skipif(not tiles.can_multiply(), reason="no tiles here, or nothing was compiled")


def drawn(tokens: int, width: int, rows: int) -> tuple[Array, Array]:
    numbers = np.random.default_rng(tokens + width + rows)
    values = numbers.standard_normal((tokens, width), np.float32)
    return values, numbers.standard_normal((rows, width), np.float32).astype(ml_dtypes.bfloat16)


@needs_tiles
@pytest.mark.parametrize(
    ("tokens", "width", "rows"),
    [(1, 2, 1), (1, 576, 96), (16, 32, 16), (33, 70, 17), (32, 1024, 32), (31, 3000, 300), (513, 64, 257), (0, 64, 8)],
)
def test_as_near_as_float32_comes(tokens: int, width: int, rows: int) -> None:
    """Of any shape, what is made is no farther from the exact products than a BLAS is."""
    values, weights = drawn(tokens, width, rows)
    made = tiles.multiply(values, weights.view(np.uint16))
    exact = values.astype(np.float64) @ weights.astype(np.float64).T
    theirs = values @ weights.astype(np.float32).T
    assert made.dtype == np.float32
    assert made.shape == (tokens, rows)
    assert np.linalg.norm(made - exact) <= 2 * np.linalg.norm(theirs - exact) + 1e-7 * np.linalg.norm(exact)


@needs_tiles
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(number: float) -> None:
    """It spoils the token that it is in, and no other."""
    values, weights = drawn(40, 64, 48)
    values[7, 3] = number
    made = tiles.multiply(values, weights.view(np.uint16))
    assert (~np.isfinite(made)).any(axis=1).tolist() == [token == 7 for token in range(40)]


@needs_tiles
@pytest.mark.parametrize(
    ("change", "right"),
    [
        (("", ""), True),
        (("#define TERMS 3", "#define TERMS 2"), False),
        (("    if (goes_on) {", "    if (0) {"), False),
        (("here - some, both)", "here - some, both) - 1"), False),
    ],
    ids=["as it is", "bits left out", "columns left out", "rows left out"],
)
def test_a_loop_that_is_wrong(tmp_path: Path, change: tuple[str, str], right: bool) -> None:
    """A loop that makes something else on this machine is not used."""
    text = Path(tiles.__file__).with_suffix(".c").read_text()
    assert change[0] in text
    (tmp_path / "tiles.c").write_text(text.replace(*change) if change[0] else text)
    compiled = tmp_path / "tiles.so"
    subprocess.run(["cc", "-O1", "-std=c11", "-shared", "-fPIC", "-o", compiled, tmp_path / "tiles.c"], check=True)
    assert (tiles.find_tiles(compiled) is not None) == right


def test_without_the_loop(tmp_path: Path) -> None:
    """A library that is not there, is none, or finds no tiles on this processor is not used."""
    assert tiles.find_tiles(tmp_path / "none.so") is None
    (tmp_path / "none.so").write_bytes(b"for another machine")
    assert tiles.find_tiles(tmp_path / "none.so") is None
    (tmp_path / "tiles.c").write_text("int tagship_tiles_begin(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "tiles.so", tmp_path / "tiles.c"], check=True)
    assert tiles.find_tiles(tmp_path / "tiles.so") is None
