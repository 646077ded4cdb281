"""Base + adapter as the converter's lazy tensors: what the adapter changes is computed when it is written."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tagship.gguf.failures import left_out
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import AdapterTensors, whole_tensor


class MergedTensors:
    """Lazy tensors for what the adapter changes; `taken` are those that the converter asked for,
    `computed` those that it wrote. `known_as` are merged tensors by the name that they have inside it, `handed`
    those objects that stand for one there. `streamed` are the tensors that it takes as they are, or stacks: the
    merged model's names by the GGUF's."""

    def __init__(self, weights: MergedWeights, *, sees: bool) -> None:
        self.weights = weights
        self._sees = sees
        self._adapter = AdapterTensors(weights.adapter)
        known = weights.base.entries()
        self.added = [name for name in weights.outputs if name not in known]
        self.computed_here = {name for name, output in weights.outputs.items() if not output.copied} | set(self.added)
        self.known_as: dict[str, str] = {}
        self.handed: dict[int, tuple[Any, str]] = {}
        self.streamed: dict[str, tuple[str, ...]] = {}
        self.taken: set[str] = set()
        self.computed: set[str] = set()

    def check(self, held: set[str]) -> None:
        """Raise ReleaseError when the converter left out what the adapter changes."""
        if left_over := self.weights.changed - held:
            raise left_out(left_over, sees=self._sees)

    def sources_of(self, tensor: Any) -> tuple[str, ...]:
        """The merged tensors that a lazy one of the converter is: one as it is, or several stacked. None for others."""
        import torch

        if id(tensor) in self.handed:
            return (self.handed[id(tensor)][1],)
        if getattr(tensor, "_func", None) is not torch.stack or tensor._kwargs != {"dim": 0}:
            return ()
        (parts,) = tensor._args
        names = [self.sources_of(part) for part in parts]
        return tuple(name for (name,) in names) if all(len(name) == 1 for name in names) else ()

    def generator(self, name: str) -> Callable[[], Any] | None:
        return (lambda: self._lazy(name)) if name in self.computed_here else None

    def _lazy(self, name: str) -> Any:
        import torch
        from conversion.base import LazyTorchTensor

        self.taken.add(name)
        output = self.weights.outputs[name]
        dtype = LazyTorchTensor._dtype_str_map[output.dtype]

        def compute(_: str) -> Any:
            self.computed.add(name)
            merged = whole_tensor(self.weights, name, self._adapter)
            return torch.from_numpy(merged.reshape(-1).view(np.uint8)).view(dtype).reshape(output.shape)

        meta = LazyTorchTensor.meta_with_dtype_and_shape(dtype, output.shape)
        return LazyTorchTensor(meta=meta, args=(name,), func=compute)
