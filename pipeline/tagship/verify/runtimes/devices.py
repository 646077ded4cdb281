"""Where torch computes."""

from typing import Any, Protocol

# What a pass takes beside the weights: activations, keys and values, blocks in float32, and CUDA's own.
_PASS = 2 << 30


class Gpus(Protocol):
    """What is asked of `torch.cuda`, which AMD's GPUs are behind as well."""

    def is_available(self) -> bool: ...

    def device_count(self) -> int: ...

    def mem_get_info(self, device: int) -> tuple[int, int]:
        """Bytes that are free, and all."""


def device_for(weights: int, gpus: Gpus | None = None) -> str:
    """`cuda:N`, the GPU with the most free memory, where that has room for so many bytes of weights and a pass along a
    text; else `cpu`."""
    gpus = gpus or _gpus()
    free = {device: gpus.mem_get_info(device)[0] for device in range(gpus.device_count() if gpus.is_available() else 0)}
    device = max(free, key=free.__getitem__, default=None)
    return "cpu" if device is None or free[device] < weights + _PASS else f"cuda:{device}"


def free_devices() -> None:
    """Give back what torch keeps of a GPU's memory that no tensor has any more: others may want it."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _gpus() -> Any:
    import torch

    torch.backends.cudnn.allow_tf32 = False  # float32 is meant: matrices are multiplied in it by default already
    return torch.cuda
