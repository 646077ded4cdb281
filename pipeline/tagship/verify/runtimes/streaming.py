"""Models that compute in float32 with weights that stay as their files have them, in 16 bits and mapped.

Each module casts its own weights while it computes, and lets go of them: what is in memory beside the page cache is the
largest module and the activations, whatever the size of the model. Where the processor multiplies float32 with bfloat16
as it is, matrices are not cast at all.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tagship.weights import products
from tagship.weights.scratch import scratch

# Of a matrix as many rows are cast at once as make this many bytes in float32: heads of large vocabularies are the
# largest matrices by far.
_BLOCK = 64 << 20
# Where a module computes with other numbers than its weight has: what gives blocks of so many rows of them to a linear
# one, and rows by their numbers to an embedding.
_BLOCKS, _ROWS = "weight_blocks", "weight_rows"
_ON_PARAMETERS = "ParamWrapper"
_TRAINED_WHOLE = "modules_to_save"


def stream(model: Any) -> bool:
    """Have a model of torch compute in float32 without a copy of its weights. Returns whether it does: not one whose
    adapter is added to parameters as they are (PEFT's target_parameters), in their 16 bits. A model that uses weights
    outside of the modules that own them raises RuntimeError when it is run, as two dtypes meet."""
    import torch

    if any(type(module).__name__ == _ON_PARAMETERS for module in model.modules()):
        return False
    for name, module in model.named_modules():
        if _TRAINED_WHOLE in name.split("."):  # copies of the base's modules
            module.__dict__.pop(_BLOCKS, None)
            module.__dict__.pop(_ROWS, None)
        short = any(_is_short(parameter) for parameter in module.parameters(recurse=False))
        if not short and not hasattr(module, _BLOCKS):
            continue
        if isinstance(module, torch.nn.Embedding):
            module.forward = _widening(module)
        elif isinstance(module, torch.nn.Linear):
            module.forward = _casting(module)
        else:
            module.register_forward_pre_hook(_widen_weights)
            module.register_forward_hook(_restore_weights, always_call=True)
    return True


def _is_short(tensor: Any) -> bool:
    import torch

    return tensor.dtype in (torch.bfloat16, torch.float16)


def _casting(module: Any) -> Any:
    """What a linear module computes, with blocks of its weight in float32, or with its bfloat16."""
    import torch

    def forward(given: Any) -> Any:
        weight, bias = module.weight, module.bias
        given = given.float()
        rows = max(1, _BLOCK // (4 * weight.shape[1]))
        starts = range(0, weight.shape[0], rows)
        other = getattr(module, _BLOCKS, None)
        blocks = other(rows) if other else (weight[start : start + rows] for start in starts)
        parts = [
            _product(given, block, None if bias is None else bias[start : start + rows].float())
            for start, block in zip(starts, blocks, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    return forward


def _product(given: Any, weight: Any, bias: Any) -> Any:
    """What a linear module computes with some rows of its weight. Each of them comes to the same numbers, whichever
    others there are."""
    import torch

    if not _is_multiplied_as_it_is(weight):
        return torch.nn.functional.linear(given, _cast(weight), bias)
    made = _multiplied(given, weight)
    return made if bias is None else made.add_(bias)


def _is_multiplied_as_it_is(weight: Any) -> bool:
    import torch

    here = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.is_contiguous()
    return here and weight.shape[1] % 2 == 0 and products.can_multiply()


def _multiplied(given: Any, weight: Any) -> Any:
    import torch

    values = given.reshape(-1, given.shape[-1]).contiguous()
    made = products.multiply(values.numpy(), weight.detach().view(torch.uint16).numpy())
    return torch.from_numpy(made).view(*given.shape[:-1], -1)


def _cast(weight: Any) -> Any:
    """Rows in float32, until the next ones are cast: fresh memory for each takes three times as long."""
    import torch

    if weight.dtype == torch.float32 or weight.device.type != "cpu":
        return weight.float()
    return torch.from_numpy(scratch("cast weights", tuple(weight.shape), np.dtype(np.float32))).copy_(weight)


def _widening(module: Any) -> Any:
    """What an embedding does, by those of its rows alone that are asked for, in float32."""
    import torch

    original = module.forward

    def forward(ids: Any) -> Any:
        asked, places = torch.unique(ids, return_inverse=True)
        weight, padding = module.weight.data, module.padding_idx
        rows = getattr(module, _ROWS, None)
        module.weight.data, module.padding_idx = rows(asked) if rows else weight[asked].float(), None
        try:
            return original(places.view_as(ids))
        finally:
            module.weight.data, module.padding_idx = weight, padding

    return forward


def _own(module: Any) -> Iterator[Any]:
    return (parameter for parameter in module.parameters(recurse=False))


def _widen_weights(module: Any, given: Any) -> None:
    module.kept_as_they_are = [parameter.data for parameter in _own(module)]
    for parameter in _own(module):
        if _is_short(parameter):
            parameter.data = parameter.data.float()


def _restore_weights(module: Any, given: Any, made: Any) -> None:
    for parameter, data in zip(_own(module), module.__dict__.pop("kept_as_they_are", ()), strict=False):
        parameter.data = data
