"""Weights in NF4 are what bitsandbytes makes of them: by what it gave once, and by itself where it is installed.

tests/golden/nf4.safetensors is what bitsandbytes 0.50.2 gave on the CPU; REWRITE_GOLDEN=1 with bitsandbytes installed
rewrites it. Its kernel for the CPU looks the 8 bits of double quantization up in a table that is a step off for one
number in 600, beside the middle between two values.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.weights import nf4_blocks
from tagship.weights.dtypes import DTYPES
from tagship.weights.nf4 import ToNf4
from tagship.weights.safetensors import Header, read_header

from tests import tiny

GOLDEN = Path(__file__).parents[1] / "golden/nf4.safetensors"
Array = np.ndarray[Any, np.dtype[Any]]
# Rows that are whole blocks, rows that end within one, and a tensor that does.
CASES = [
    ("BF16", (96, 192), False),
    ("BF16", (96, 192), True),
    ("BF16", (40, 96), True),
    ("F16", (40, 96), False),
    ("F32", (7, 33), False),
    ("F32", (41, 80), True),
]


def weights(dtype: str, shape: tuple[int, int]) -> Array:
    """Numbers of several sizes, zeros and a block of them."""
    numbers = tiny.formula(shape, 5, bits=11) * 2.0 ** -(12 + np.arange(shape[0]) % 5)[:, None]
    numbers.reshape(-1)[64:128] = 0
    return numbers.astype(np.float32).astype(DTYPES[dtype])


def in_nf4(values: Array, dtype: str, *, double: bool, step: int) -> Array:
    """Made in blocks of so many rows."""
    change = ToNf4(size=(values.shape[0], values.shape[1]), dtype=dtype, double=double)

    def blocks() -> Iterator[tuple[Array, int, int]]:
        for start in range(0, len(values), step):
            stop = min(start + step, len(values))
            yield values[start:stop].astype(np.float32), start, stop

    apply = change.prepared(rows for rows, _, _ in blocks())
    made = []
    for rows, start, stop in blocks():
        apply(rows, start, stop)
        made.append(rows)
    return np.concatenate(made)


def by_bitsandbytes(values: Array, *, double: bool) -> Array:
    """Flattened, as its kernel for the CPU takes the scales of other blocks where rows are not whole ones."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    dtype = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    name = next(name for name, kind in DTYPES.items() if kind == values.dtype)
    tensor = torch.from_numpy(values.reshape(-1).astype(np.float32)).to(dtype[name])
    packed, state = functional.quantize_4bit(tensor, quant_type="nf4", compress_statistics=double)
    made = functional.dequantize_4bit(packed, state).float().numpy().reshape(values.shape)
    return np.asarray(made).astype(values.dtype)


def check(ours: Array, theirs: Array, *, double: bool) -> None:
    if not double:
        assert np.array_equal(ours, theirs)
        return
    apart = np.abs(ours - theirs) > 1e-6 * np.abs(theirs).max()
    assert apart.mean() < 0.01 and np.abs(ours - theirs).max() < 0.01 * np.abs(theirs).max()


def name_of(dtype: str, shape: tuple[int, int], double: bool) -> str:
    return f"{dtype}-{shape[0]}x{shape[1]}-{'double' if double else 'single'}"


@pytest.fixture(scope="module")
def golden() -> Header:
    if os.environ.get("REWRITE_GOLDEN"):
        made = {name_of(*case): by_bitsandbytes(weights(*case[:2]), double=case[2]) for case in CASES}
        tiny.write_tensors(GOLDEN, made)
    return read_header(GOLDEN)


@pytest.mark.parametrize(("dtype", "shape", "double"), CASES)
def test_as_bitsandbytes_gave_it(golden: Header, dtype: str, shape: tuple[int, int], double: bool) -> None:
    """Every number, whatever the blocks of rows that it is made in."""
    values, theirs = weights(dtype, shape), golden.read(name_of(dtype, shape, double)).astype(np.float32)
    for step in (1, 5, shape[0]):
        check(in_nf4(values, dtype, double=double, step=step), theirs, double=double)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_as_bitsandbytes_gives_it(dtype: str, double: bool) -> None:
    """The same of what is installed, on more numbers."""
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((513, 192)) * rng.random((513, 1)) / 9).astype(np.float32).astype(DTYPES[dtype])
    theirs = by_bitsandbytes(values, double=double).astype(np.float32)
    check(in_nf4(values, dtype, double=double, step=7), theirs, double=double)


def test_numbers_that_are_none() -> None:
    """They are not made to look like numbers: what is not finite stays so in its block."""
    for number in (np.nan, np.inf):
        values = np.ones((2, 64), np.float32)
        values[1, 7] = number
        made = in_nf4(values, "F32", double=False, step=2)
        assert (made[0] == 1).all() and not np.isfinite(made[1, 7])


def test_loops_make_the_numbers_of_numpy(tmp_path: Path) -> None:
    """Those that a compiler makes of the source are taken; a library with others, or none, is not."""
    source = Path(nf4_blocks.__file__).with_name("nf4.c")
    assert nf4_blocks.find_loops(tmp_path / "none.so") is None
    for name, change in (("right", ("", "")), ("wrong", ("divided[i] > bound ?", "divided[i] >= bound ?"))):
        made = tmp_path / f"{name}.c"
        text = source.read_text()
        assert change[0] in text
        made.write_text(text.replace(*change) if change[0] else text)
        library = made.with_suffix(".so")
        try:
            subprocess.run(["cc", "-O3", "-std=c11", "-shared", "-fPIC", "-o", library, made], check=True)
        except FileNotFoundError:
            pytest.skip("there is no compiler")
        assert (nf4_blocks.find_loops(library) is not None) == (name == "right")


def test_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no compiler the numbers are the same."""
    values = weights("BF16", (40, 96))
    made = in_nf4(values, "BF16", double=True, step=7)
    monkeypatch.setattr(nf4_blocks, "_own_loops", lambda: None)
    assert np.array_equal(in_nf4(values, "BF16", double=True, step=7), made)
