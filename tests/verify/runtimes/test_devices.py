"""Where torch computes: on a GPU with room, else on the processor."""

import pytest
from msgspec import Struct
from tagship.verify.runtimes.devices import device_for

GIB = 1 << 30


class Free(Struct, frozen=True, dict=True):
    """GPUs with so many bytes free."""

    free: tuple[int, ...]

    def is_available(self) -> bool:
        return bool(self.free)

    def device_count(self) -> int:
        return len(self.free)

    def mem_get_info(self, device: int) -> tuple[int, int]:
        return self.free[device], 80 * GIB


@pytest.mark.parametrize(
    ("free", "device"),
    [((), "cpu"), ((9 * GIB,), "cpu"), ((10 * GIB,), "cuda:0"), ((11 * GIB, 40 * GIB, 12 * GIB), "cuda:1")],
)
def test_the_gpu_with_the_most_room(free: tuple[int, ...], device: str) -> None:
    """Weights have to fit with what a pass takes; of several GPUs the emptiest is taken."""
    assert device_for(8 * GIB, Free(free)) == device


def test_no_gpu() -> None:
    """A torch without CUDA computes on the processor, whatever the size."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert device_for(1) == "cpu"
