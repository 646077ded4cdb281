"""Rounding to bfloat16 by the loop in C: the bytes of ml_dtypes, and where it is not there, ml_dtypes."""

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tagship.weights import bf16, merged_rows
from tagship.weights.bf16 import can_round, round_to_bf16
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.scratch import Array

from tests import tiny

needs_loop = pytest.mark.skipif(not can_round(), reason="there was no C compiler when tagship was installed")


@pytest.fixture(autouse=True)
def loaded_anew() -> Iterator[None]:
    bf16._loop.cache_clear()
    yield
    bf16._loop.cache_clear()


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


def test_without_the_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A library that is not there, or is none, is none to use."""
    monkeypatch.setattr(bf16, "LIBRARY", tmp_path / "libbf16.so")
    assert not can_round()
    (tmp_path / "libbf16.so").write_bytes(b"for another machine")
    bf16._loop.cache_clear()
    assert not can_round()


@needs_loop
def test_a_loop_that_does_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that rounds in another way on this machine, as one that takes subnormals for zero, is not used."""

    class Library:
        @staticmethod
        def tagship_round_to_bf16(values: int, into: int, count: int) -> int:
            sample = np.ctypeslib.as_array((ctypes.c_float * count).from_address(values))
            without = np.where(np.abs(sample) < np.finfo(np.float32).tiny, np.float32(0), sample)
            ctypes.memmove(into, without.astype(ml_dtypes.bfloat16).ctypes.data, 2 * count)
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    assert not can_round()


@needs_loop
def test_merges_are_the_same_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A merged model has the same bytes where the loop is not there."""
    pytest.importorskip("torch")
    base = tiny.llama(tmp_path / "base")
    adapter = tiny.adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"], use_dora=True)
    for name, there in (("with", True), ("without", False)):
        monkeypatch.setattr(merged_rows, "can_round", lambda there=there: there)
        (tmp_path / name).mkdir()
        write_merged([(MergedWeights(open_checkpoint(base), read_adapter(adapter), "BF16"), tmp_path / name)])
    (one,), (other,) = ([*(tmp_path / name).glob("*.safetensors")] for name in ("with", "without"))
    assert one.read_bytes() == other.read_bytes()
