"""A model of torch whose weights are merged as they are needed: its files were sent on, and are headers here."""

from typing import Any

from tagship.verify.runtimes.protocol import Ingredients
from tagship.verify.runtimes.quantized import load_made, slices_of
from tagship.verify.runtimes.transformers_classes import KnownClass
from tagship.weights.checkpoint import Checkpoint, open_checkpoint
from tagship.weights.linear_tensors import is_linear
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merged_rows import whole_tensor
from tagship.weights.remade import RemadeMatrices


def load_remade(known: KnownClass, checkpoint: Checkpoint, made_of: Ingredients, *, whole: bool) -> Any:
    """The model of a checkpoint without its weights. Tensors that merging leaves as they are come from the base's
    files; of the others, matrices of linear modules are merged block by block while they compute, those of single
    experts as transformers stacks them, and the rest is in memory."""
    base = open_checkpoint(made_of.base)
    weights = MergedWeights(base, read_adapter(made_of.adapter), made_of.dtype, made_of.nf4, portable=made_of.portable)
    copied = {name for name, output in weights.outputs.items() if output.copied}
    entries = checkpoint.entries()
    streamed = {name for name in weights.outputs if name not in copied and is_linear(name, entries[name], entries)}
    makes = RemadeMatrices(weights)
    while True:
        matrices = {name: makes.of(weights.outputs[name]) for name in streamed}
        others = slices_of(base, copied) | {
            name: _tensor(weights, name) for name in weights.outputs if name not in copied | streamed
        }
        in_bf16 = {name for name in streamed if weights.outputs[name].dtype == "BF16"}
        model, missing = load_made(known, checkpoint.main_dtype, matrices, others, whole=whole, in_bf16=in_bf16)
        if not missing:
            return model
        streamed -= missing  # as of modules that store them transposed


def _tensor(weights: MergedWeights, name: str) -> Any:
    import ml_dtypes
    import numpy as np
    import torch

    made = whole_tensor(weights, name)
    if made.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(made.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(made)
