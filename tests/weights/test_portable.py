"""Merged weights that are the same on every processor: exact products, and merges under different kernels of BLAS."""

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tagship.weights.low_rank import can_add
from tagship.weights.portable import ExactProduct, squares_of_rows
from threadpoolctl import threadpool_info

from tests import tiny

# What OpenBLAS is told to take the processor for, and what numpy is told not to use of it. The last two have no FMA.
PROCESSORS = [
    *([{"OPENBLAS_CORETYPE": "SkylakeX"}] if "avx512f" in Path("/proc/cpuinfo").read_text() else []),
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "Nehalem"},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX"},
]
MERGE = """
import hashlib, json, sys, tempfile
from pathlib import Path
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged

digests = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    for portable in (True, False):
        with tempfile.TemporaryDirectory() as made:
            base, adapter = open_checkpoint(folder / "base"), read_adapter(folder / "adapter")
            write_merged([(MergedWeights(base, adapter, portable=portable), Path(made))])
            (file,) = Path(made).glob("*.safetensors")
            digests[f"{folder.name} {portable}"] = hashlib.sha256(file.read_bytes()).hexdigest()
print(json.dumps(digests))
"""


def random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Numbers of very different sizes, in float32."""
    made = np.random.default_rng(seed)
    return (made.standard_normal(shape) * np.exp2(made.integers(-12, 12, shape))).astype(np.float32)


def write_case(folder: Path, dtype: type, **lora: object) -> None:
    """A base with a wide tensor, and an adapter of rank 12 for it."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    out, columns, rank = 96, 700, 12
    shape = (columns, out) if lora.get("fan_in_fan_out") else (out, columns)
    tiny.write_tensors(folder / "base/model.safetensors", {"layer.proj.weight": random(shape, 1).astype(dtype)})
    (folder / "base/config.json").write_text("{}")
    key = "base_model.model.layer.proj.lora_"
    tensors = {f"{key}A.weight": random((rank, columns), 2), f"{key}B.weight": random((out, rank), 3)}
    if lora.get("use_dora"):
        tensors[f"{key}magnitude_vector"] = np.abs(random((out,), 4)) + 1
    tiny.write_tensors(folder / "adapter/adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 20, "target_modules": ["proj"], **lora}
    (folder / "adapter/adapter_config.json").write_text(json.dumps(config))


@pytest.mark.slow
@pytest.mark.skipif(
    not any(each["internal_api"] == "openblas" for each in threadpool_info()),
    reason="numpy has another BLAS than OpenBLAS, which cannot be told to take the processor for another",
)
def test_merges_are_the_same_on_every_processor(tmp_path: Path) -> None:
    """Whatever kernels BLAS and numpy choose, a portable merge has the same bytes: in float32 as in bf16 and float64,
    of DoRA by rows and by columns. Without it each of them has others somewhere, but for what a loop makes."""
    write_case(tmp_path / "f32", np.float32)
    write_case(tmp_path / "bf16", ml_dtypes.bfloat16)
    write_case(tmp_path / "f64", np.float64)
    write_case(tmp_path / "dora", np.float32, use_dora=True)
    write_case(tmp_path / "dora-transposed", np.float32, use_dora=True, fan_in_fan_out=True)
    found: dict[str, set[str]] = {}
    for processor in PROCESSORS:
        done = subprocess.run(
            [sys.executable, "-c", MERGE, str(tmp_path)],
            env={**os.environ, **processor},
            check=True,
            capture_output=True,
            text=True,
        )
        for name, digest in json.loads(done.stdout).items():
            found.setdefault(name, set()).add(digest)
    assert {name: len(digests) for name, digests in found.items() if name.endswith("True")} == {
        f"{name} True": 1 for name in ("f32", "bf16", "f64", "dora", "dora-transposed")
    }
    assert len(found["bf16 False"]) == 1 or not can_add(), "the loop for bfloat16 has one order"
    assert len(found["f32 False"]) > 1, "these kernels do not differ, so that this shows nothing"


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_no_sum_is_rounded(rank: int, seed: int) -> None:
    """Of factors on their grids, float64 holds every sum of products: it is the sum that fractions give."""
    product = ExactProduct(random((3, rank), seed), random((rank, 4), seed + 1))
    left, right = product._left, product._right
    exact = left @ right
    for row in range(3):
        for column in range(4):
            terms = [Fraction(a) * Fraction(b) for a, b in zip(left[row], right[:, column], strict=True)]
            assert Fraction(exact[row, column]) == sum(terms)


@pytest.mark.parametrize("rank", [1, 2, 16, 64, 1000])
def test_as_near_as_float32_is(rank: int) -> None:
    """What the grids leave out is no more than float32's own rounding of the largest factors."""
    left, right = (np.random.default_rng(rank).standard_normal(shape) for shape in ((64, rank), (rank, 80)))
    left, right = left.astype(np.float32), right.astype(np.float32)
    rows = np.zeros((64, 80), np.float32)
    ExactProduct(left, right).add_to(rows, 0, 64)
    wanted = left.astype(np.float64) @ right.astype(np.float64)
    largest = np.abs(left).max(axis=1, keepdims=True) * np.abs(right).max(axis=0) * rank
    assert (np.abs(rows - wanted) <= largest * 2.0**-20).all()
    ours, blas = (np.abs(each - wanted).max() for each in (rows, left @ right))
    assert ours <= 4 * blas + 1e-7 * np.abs(wanted).max()


def test_whole_numbers_are_exact() -> None:
    """A product that float32 holds is that very product, added to what there is, at the rows that are asked for."""
    left, right = tiny.formula((200, 16), 1, bits=6), tiny.formula((16, 3000), 2, bits=6)
    rows = np.ones((150, 3000), np.float32)
    ExactProduct(left, right).add_to(rows, 30, 180)
    assert np.array_equal(rows, 1 + (left.astype(np.int64) @ right.astype(np.int64))[30:180])


def test_zeros() -> None:
    """A factor of zeros alone gives zeros."""
    rows = np.zeros((2, 3), np.float32)
    ExactProduct(np.zeros((2, 4), np.float32), np.zeros((4, 3), np.float32)).add_to(rows, 0, 2)
    assert not rows.any()


@pytest.mark.parametrize("columns", [0, 1, 2, 7, 64, 1001])
def test_squares(columns: int) -> None:
    """The sum of the squares of each row, of any length."""
    rows = tiny.formula((5, columns), 3)
    assert np.array_equal(squares_of_rows(rows), (rows.astype(np.int64) ** 2).sum(axis=1))


def test_columns_in_place_of_rows_are_left_alone() -> None:
    """What is squared is not changed, whether it lies in memory by rows or by columns."""
    rows = tiny.formula((4, 6), 5)
    before = hashlib.sha256(rows.tobytes()).hexdigest()
    squares_of_rows(rows.T)
    assert hashlib.sha256(rows.tobytes()).hexdigest() == before
