"""The names of an adapter's tensors: those that PEFT would pass over, and what wrote them.

PEFT loads what it knows by name and only warns of the rest, so that a model with such an adapter is its base. Savers
that take a state dict themselves write such names, or nothing at all.
"""

import re
from collections.abc import Iterator

from tagship.system.errors import ReleaseError
from tagship.weights.safetensors import Header

_PREFIX = "base_model.model."
_OF_LORA = re.compile(r"\.lora_(?:embedding_)?[AB](?:\.|$)|\.lora_magnitude_vector(?:\.|$)")
# `lora_A.default.weight`, as a PEFT model's own state dict has it.
_NAMED = re.compile(
    r"\.lora_(?:embedding_[AB]|magnitude_vector|[AB](?=\.\w+\.(?:weight|bias)$))\.(?!weight$)(?P<name>\w+)"
)
# What wraps modules while they are trained, by the name that it puts between them.
_WRAPPERS = {
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_orig_mod": "torch.compile",
}
_SAVE = "save it again from the trained model with model.save_pretrained(…)"


def check_keys(weights: Header) -> None:
    """Raise ReleaseError for a file that PEFT would load nothing of, or not all: no tensors, tensors without numbers,
    names that it does not have."""
    if not weights.tensors:
        raise ReleaseError(
            f"{weights.path} has no tensors, so that the adapter does nothing",
            remedy="DeepSpeed's ZeRO-3 saves so where weights are not gathered: set "
            f"stage3_gather_16bit_weights_on_model_save, or convert its checkpoint with zero_to_fp32, and {_SAVE}",
        )
    if empty := [name for name, entry in weights.tensors.items() if not entry.elements]:
        raise ReleaseError(
            f"{weights.path} has tensors without numbers, so that the adapter does nothing: {_some(empty)}",
            remedy="they were saved on a process that held no part of them (ZeRO-3, FSDP): gather the weights, and "
            f"{_SAVE}",
        )
    for problem, remedy in _unread(list(weights.tensors)):
        raise ReleaseError(f"{weights.path} has names that PEFT passes over when it loads it: {problem}", remedy=remedy)


def _unread(names: list[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with names of LoRA's tensors, and what mends it."""
    for wrapper, what in _WRAPPERS.items():
        if wrapped := [name for name in names if wrapper in name.split(".")]:
            told = f"they still have the wrapper of {what} in them, as {_some(wrapped)}"
            yield (
                told,
                f"{_SAVE}, unwrapped (trainer.save_model, accelerator.unwrap_model), or cut .{wrapper} from them",
            )
    if named := [(name, found["name"]) for name in names if (found := _NAMED.search(name))]:
        told = f"they still have the name of the adapter in them, as {_some([name for name, _ in named])}"
        yield told, f"{_SAVE}, not from its state_dict(), or cut .{named[0][1]} from them"
    if bare := [name for name in names if _OF_LORA.search(name) and not name.startswith(_PREFIX)]:
        told = f"they do not begin with {_PREFIX}, as {_some(bare)}"
        yield told, f"{_SAVE}, not from its base model's state_dict(), or put {_PREFIX} before them"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{min(names)}{more}"
