"""A model of torch whose base is what it is in NF4: which of its modules are held so, and their weights by the same
arithmetic as in a merge."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from tagship.verify.runtimes.protocol import Subject
from tagship.weights.adapter_config import read_adapter_config
from tagship.weights.nf4 import ToNf4
from tagship.weights.nf4_form import Nf4

# Bytes of float32 that are rounded at once.
_BLOCK = 16 << 20


def hold_in_nf4(model: Any, form: Nf4, dtype: str, *, whole: bool) -> None:
    """Have the linear modules of a model without its adapter compute with what their weights are in NF4, as
    transformers chooses them for bitsandbytes; `dtype` is what they are stored in, in safetensors' name. `whole`
    changes the weights, which are in float32; else each module has in `weight_blocks` what gives
    those (`streaming`)."""
    import torch

    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and form.holds(name, head=module is head):
            weight = module.weight.data
            change = ToNf4(size=(weight.shape[0], weight.shape[1]), dtype=dtype, double=form.double)
            if whole:
                rows = max(1, _BLOCK // (4 * weight.shape[1]))
                weight.copy_(torch.cat(list(blocks_in_nf4(weight, change, rows))))
            else:
                module.weight_blocks = partial(blocks_in_nf4, module.weight, change)


def may_stream(subject: Subject) -> bool:
    """Whether a model may be computed module by module: DoRA takes norms of weights as they are stored, which are
    others in 4 bits."""
    return not (subject.nf4 and subject.adapter and read_adapter_config(subject.adapter).dora)


def blocks_in_nf4(weight: Any, change: ToNf4, rows: int) -> Iterator[Any]:
    """Blocks of a matrix, so many rows each, in float32 as they are in NF4."""
    import torch

    def block(start: int) -> Any:
        return weight[start : start + rows].to(torch.float32, copy=True).numpy()

    starts = range(0, len(weight), rows)
    apply = change.prepared(map(block, starts))
    for start in starts:
        numbers = block(start)
        apply(numbers, start, start + len(numbers))
        yield torch.from_numpy(numbers)
