"""Rounding to bfloat16 by the loop in C: the bytes of ml_dtypes, and where it is not there, ml_dtypes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tagship
from tagship.weights.bf16 import can_round, find_loop, round_to_bf16
from tagship.weights.scratch import Array

from tests import tiny

needs_loop = pytest.mark.skipif(not can_round(), reason="there was no C compiler when tagship was installed")


def bits(*patterns: int) -> Array:
    return np.array(patterns, np.uint32).view(np.float32)


def rounded(values: Array) -> tuple[Array, bool]:
    found = np.empty(values.shape, ml_dtypes.bfloat16)
    finite = round_to_bf16(values, found)
    return found.view(np.uint16), finite


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_there_is_a_loop() -> None:
    """Where there is a compiler, installing tagship compiles the loop, and it agrees with ml_dtypes."""
    assert can_round()


@needs_loop
@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_ml_dtypes(seed: int) -> None:
    """Any bits are rounded as by ml_dtypes, but for NaN: subnormals, zeros with signs and infinities, too."""
    values = np.random.default_rng(seed).integers(0, 1 << 32, 1 << 22, np.uint32).view(np.float32)
    values = values[~np.isnan(values)]
    found, finite = rounded(values)
    expected = values.astype(ml_dtypes.bfloat16)
    assert np.array_equal(found, expected.view(np.uint16))
    assert finite == bool(np.isfinite(expected.astype(np.float32)).all())


@needs_loop
@pytest.mark.parametrize("length", [0, 1, 7, 31, 32, 33, 1001])
def test_any_length(length: int) -> None:
    """Lengths that no vector divides are rounded to their end, and no further."""
    values = np.linspace(-3, 3, length + 1, dtype=np.float32)
    found = np.zeros(length + 1, ml_dtypes.bfloat16)
    assert round_to_bf16(values[:length], found[:length])
    assert np.array_equal(found[:length], values[:length].astype(ml_dtypes.bfloat16))
    assert found[length] == 0


@needs_loop
@pytest.mark.parametrize(
    ("pattern", "finite"),
    [
        (0x7F7F7FFF, True),
        (0xFF7F7FFF, True),
        (0x00000001, True),
        (0x7F7F8000, False),
        (0xFF7F8000, False),
        (0x7F7FFFFF, False),
        (0x7F800000, False),
        (0xFF800000, False),
        (0x7FC00000, False),
        (0xFFFFFFFF, False),
        (0x7F800001, False),
    ],
)
@pytest.mark.parametrize("place", [0, 40, 99])
def test_what_is_not_finite_is_told(pattern: int, finite: bool, place: int) -> None:
    """Infinity, NaN and what is rounded to infinity is told, wherever it is among other numbers."""
    values = np.ones(100, np.float32)
    values[place] = bits(pattern)[0]
    assert rounded(values)[1] == finite


def test_without_the_loop(tmp_path: Path) -> None:
    """A library that is not there, or is none, has no loop."""
    assert find_loop(tmp_path / "libbf16.so") is None
    (tmp_path / "libbf16.so").write_bytes(b"for another machine")
    assert find_loop(tmp_path / "libbf16.so") is None


# As for a processor that takes subnormals for zero.
WITHOUT_SUBNORMALS = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int tagship_round_to_bf16(const float *values, uint16_t *rounded, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float value = fpclassify(values[i]) == FP_SUBNORMAL ? 0.0f : values[i];
        uint32_t bits;
        memcpy(&bits, &value, 4);
        rounded[i] = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    }
    return 1;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize("as_it_should", [False, True])
def test_a_loop_that_does_not_agree(tmp_path: Path, as_it_should: bool) -> None:
    """A loop that rounds in another way on this machine is not used."""
    text = WITHOUT_SUBNORMALS.replace("FP_SUBNORMAL", "FP_NAN") if as_it_should else WITHOUT_SUBNORMALS
    (tmp_path / "loop.c").write_text(text)
    compiled = tmp_path / "loop.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", compiled, tmp_path / "loop.c", "-lm"], check=True)
    assert (find_loop(compiled) is not None) == as_it_should


MERGE = """
import sys
from pathlib import Path
from tagship.weights.bf16 import can_round
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged

base, adapter, target = map(Path, sys.argv[1:])
write_merged([(MergedWeights(open_checkpoint(base), read_adapter(adapter), "BF16"), target)])
print(can_round())
"""


@needs_loop
def test_merges_are_the_same_without_it(tmp_path: Path) -> None:
    """A merged model has the same bytes where tagship was installed without a compiler."""
    pytest.importorskip("torch")
    base = tiny.llama(tmp_path / "base")
    adapter = tiny.adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"], use_dora=True)
    package = Path(tagship.__file__).parent
    shutil.copytree(package, tmp_path / "site/tagship", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name, site, there in (("with", package.parent, "True"), ("without", tmp_path / "site", "False")):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", MERGE, base, adapter, tmp_path / name],
            env={**os.environ, "PYTHONPATH": str(site)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == there
    (one,), (other,) = ([*(tmp_path / name).glob("*.safetensors")] for name in ("with", "without"))
    assert one.read_bytes() == other.read_bytes()
