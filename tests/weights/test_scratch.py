"""Memory that is used again for each block of rows."""

import mmap

import numpy as np
import pytest
from tagship.weights import scratch as module
from tagship.weights.scratch import scratch

FLOAT = np.dtype(np.float32)


def test_memory_is_used_again() -> None:
    """Arrays of one use share memory, also with another shape and dtype; those of other uses have their own."""
    first = scratch("test", (100, 7), FLOAT)
    assert first.shape == (100, 7)
    assert np.shares_memory(first, scratch("test", (50,), np.dtype(np.uint8)))
    assert not np.shares_memory(first, scratch("another test", (100, 7), FLOAT))


def test_more_than_before() -> None:
    """What does not fit gets more memory, all of which can be written."""
    scratch("growing", (1,), FLOAT)
    large = scratch("growing", (3 << 20,), FLOAT)
    large[:] = 1
    assert large.sum() == 3 << 20


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no large pages to ask for")
def test_kernel_without_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses large pages gives ordinary ones."""

    class Mapped(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(module.mmap, "mmap", Mapped)
    array = scratch("without large pages", (1000,), FLOAT)
    array[:] = 2
    assert array.sum() == 2000
