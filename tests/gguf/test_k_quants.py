"""The quick encoders of Q4_K and Q5_K write what ggml writes, bit by bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tagship.gguf import ggml, k_quants

pytest.importorskip("xllamacpp")
pytest.importorskip("numba")

pytestmark = pytest.mark.slow

KINDS = {"Q4_K": 12, "Q5_K": 13}
BLOCK = 256


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> int:
    if not k_quants._agrees(KINDS[request.param]):
        pytest.skip("this machine's ggml rounds otherwise, and encodes alone")
    return KINDS[request.param]


def check(rows: Any, kind: int) -> None:
    rows = np.asarray(rows, np.float32)
    assert np.array_equal(k_quants.encode(rows, kind), ggml.encode(rows, kind))


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 7, 16, 17, 300])
def test_any_number_of_blocks(kind: int, rows: int) -> None:
    """Also where the last blocks do not fill what is searched side by side."""
    check(normal(rows, 2 * BLOCK) * 0.02, kind)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-10, 1e-6, 1e-4, 1.0, 1e4, 1e10, 1e18, 1e30, 3e38])
def test_any_size(kind: int, scale: float) -> None:
    """From numbers that 16-bit scales round to nothing, to those whose squares are not finite."""
    check(np.clip(normal(8, BLOCK), -1, 1) * np.float32(scale), kind)


def test_sizes_side_by_side(kind: int) -> None:
    """Sub-blocks of very different sizes in one block, of which the scales of some become nothing."""
    sizes = np.repeat(np.float32(10) ** np.random.default_rng(1).integers(-12, 6, (64, 8)).astype(np.float32), 32, 1)
    check(normal(64, BLOCK) * sizes, kind)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.0, 1e-20, -3e38])
def test_constant(kind: int, value: float) -> None:
    """Blocks of one number."""
    check(np.full((2, BLOCK), value), kind)


def test_one_sign(kind: int) -> None:
    """Only positive numbers, only negative ones, and far from zero."""
    for rows in (np.abs(normal(8, BLOCK)), -np.abs(normal(8, BLOCK)), normal(8, BLOCK) + 100, normal(8, BLOCK) - 100):
        check(rows, kind)


def test_outliers_and_zeros(kind: int) -> None:
    """A number that is a thousand times the others, and blocks that are zero but for a few."""
    rows = normal(16, BLOCK)
    rows[::2, 3] *= 1000
    rows[1::2, 5:] = 0
    check(rows, kind)


def test_sixteen_bits(kind: int) -> None:
    """Numbers as bf16 models have them, of which many are equal."""
    rows = (normal(64, BLOCK) * 0.02).view(np.uint32)
    check((rows & np.uint32(0xFFFF0000)).view(np.float32), kind)


@settings(deadline=None, max_examples=300)
@given(
    rows=arrays(np.float32, (2, BLOCK), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    name=st.sampled_from(sorted(KINDS)),
)
def test_any_numbers(rows: Any, name: str) -> None:
    """Whatever finite numbers there are."""
    check(rows, KINDS[name])


def test_other_types_are_ggmls() -> None:
    """A type without an encoder here, and rows that fill no block, are ggml's."""
    rows = normal(4, BLOCK)
    assert np.array_equal(k_quants.encode(rows, 8), ggml.encode(rows, 8))
