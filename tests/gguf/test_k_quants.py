"""The quick encoders of K-quants write what ggml writes, bit by bit."""

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tagship.gguf import ggml, k_quants
from tagship.system.errors import ReleaseError
from tagship.weights.compiled import library_of

pytest.importorskip("xllamacpp")

KINDS = {"Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
BLOCK = 256
LIBRARY = library_of("k_quants", Path(k_quants.__file__).parent)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> int:
    if not k_quants._agrees(KINDS[request.param], True):
        pytest.skip("there was no compiler, or this machine's ggml rounds otherwise, and encodes alone")
    return KINDS[request.param]


def check(rows: Any, kind: int) -> None:
    """Compare, also by importances of columns, of which some have none."""
    rows = np.asarray(rows, np.float32)
    assert np.array_equal(k_quants.encode(rows, kind), ggml.encode(rows, kind))
    importance = np.square(normal(rows.shape[1], seed=2))
    importance[::19] = 0
    for some in (importance, importance * np.float32(1e-20), np.ones_like(importance)):
        assert np.array_equal(k_quants.encode(rows, kind, some), ggml.encode(rows, kind, some))


def changed_loop(folder: Path, before: str, after: str) -> Any:
    """The loop, compiled once more from a changed source."""
    source, library = folder / "changed.c", folder / "changed.so"
    text = LIBRARY.with_name("k_quants.c").read_text()
    assert before in text
    source.write_text(text.replace(before, after))
    subprocess.run(["cc", "-O1", "-std=c11", "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
    loop = k_quants.find_loop(library)
    assert loop is not None
    return loop


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


@pytest.mark.parametrize("outlier", [-1e-38, 1e-42, 2e13, -2e13, 3e38])
def test_a_number_beyond_what_ggml_counts_with(kind: int, outlier: float) -> None:
    """A minimum of which there is no inverse, and what is millions of steps where it weighs nothing: ggml rounds them
    to anything."""
    rows = np.ones((2, BLOCK))
    rows[:, 19] = outlier
    check(rows, kind)
    rows[:, ::3] = normal(2, BLOCK)[:, ::3]
    rows[:, 19] = outlier
    check(rows, kind)


def test_an_outlier_that_weighs_nothing(kind: int) -> None:
    """What is found for all others may be the least number itself, or far from it."""
    rows = (-(np.arange(4 * BLOCK) % 7) / 512.0).astype(np.float32).reshape(4, BLOCK)
    importance = (1 + np.arange(BLOCK) % 3 / 10).astype(np.float32)
    for least, weight in ((-1, 0), (-3e5, 1e-20), (-1e3, 1e-30)):
        rows[:, 5::32] = least
        importance[5::32] = weight
        assert np.array_equal(k_quants.encode(rows, kind, importance), ggml.encode(rows, kind, importance))
    rows = -np.abs(normal(200, BLOCK)) / 100
    rows[:, ::16] = -1
    importance = np.square(normal(BLOCK))
    importance[::16] = 0
    assert np.array_equal(k_quants.encode(rows, kind, importance), ggml.encode(rows, kind, importance))


def test_importances_of_another_matrix(kind: int) -> None:
    """As many as there are columns, or none."""
    with pytest.raises(ReleaseError, match="256"):
        k_quants.encode(normal(4, 2 * BLOCK), kind, np.ones(BLOCK, np.float32))


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
    rows = normal(4, 32)
    assert np.array_equal(k_quants.encode(rows, 8), ggml.encode(rows, 8))


def test_where_there_was_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml encodes everything."""
    (tmp_path / "none.so").write_bytes(b"for another machine")
    assert k_quants.find_loop(tmp_path / "none.so") is None
    monkeypatch.setattr(k_quants, "_own_loop", lambda: None)
    check(normal(4, BLOCK), 14)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize(
    ("kinds", "right", "wrong"),
    [
        ((10, 12), "sum_w * sum_xl - sum_x", "sum_w * sum_xl + sum_x"),
        ((11, 14), "-largest, largest - 1);\n            sum_xl", "-largest, largest);\n            sum_xl"),
        ((10,), "steps[j] | floors[j] << 4", "floors[j] | steps[j] << 4"),
        ((11,), "steps[j + 8] + 32) >> 4 << 4", "steps[j + 8] + 32) >> 4 << 6"),
    ],
)
def test_a_loop_that_is_wrong(tmp_path: Path, kinds: tuple[int, ...], right: str, wrong: str) -> None:
    """What would write something else on this machine is not used."""
    loop = changed_loop(tmp_path, right, wrong)
    for kind in kinds:
        assert not k_quants.is_right(loop, kind, True)
        assert kind == 11 or not k_quants.is_right(loop, kind, False)


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("cc"), reason="it is a loop for x86_64")
def test_an_old_processor(tmp_path: Path) -> None:
    """Without AVX2, ggml encodes everything."""
    loop = changed_loop(tmp_path, '__builtin_cpu_supports("avx2")', "0")
    unusual = np.zeros(2, np.uint8)
    rows, encoded = normal(1, 2 * BLOCK), np.empty(2 * 144, np.uint8)
    loop(KINDS["Q4_K"], rows.ctypes.data, None, encoded.ctypes.data, unusual.ctypes.data, 2, 2)
    assert unusual.all() and k_quants.is_right(loop, KINDS["Q4_K"], True)
