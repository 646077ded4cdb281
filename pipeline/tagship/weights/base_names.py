"""Under which names the base's files hold what an adapter changes: they may differ from the trained model's."""

import re
from collections.abc import Iterator, Mapping

from tagship.weights.experts import ExpertsLowRank, divided, divided_entry, tensors_of_experts
from tagship.weights.lora import Adapter
from tagship.weights.safetensors import TensorEntry
from tagship.weights.tied_embeddings import Trained

# How a parameter's name in the model may begin where the checkpoint says otherwise: a base model
# that was saved without its head has no prefix; transformers 5 moved the text model of several
# multimodal ones (transformers, conversion_mapping.py).
_BEGINNINGS = (
    ("", ""),
    ("model.", ""),
    ("transformer.", ""),
    ("gpt_neox.", ""),
    ("", "model."),
    ("", "transformer."),
    ("model.language_model.", "language_model.model."),
    ("model.language_model.", "model."),
    ("model.", "model.language_model."),
    ("model.", "language_model.model."),
    ("model.", "backbone."),
    ("lm_head.", "language_model.lm_head."),
    ("lm_head.", "embed_out."),
)
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
# What is inside of it: names that transformers 5 gives to what is in older files, mixtures of experts above all.
_INSIDES = (
    ("", ""),
    (".mlp.", ".block_sparse_moe."),
    (".mlp.router.", ".block_sparse_moe.gate."),
    (".experts.gate_up_proj", ".input_linear.weight"),
    (".experts.down_proj", ".output_linear.weight"),
    (".block_sparse_moe.router.", ".block_sparse_moe.router.layer."),
)


def by_base_names(adapter: Adapter, entries: Mapping[str, TensorEntry]) -> Trained:
    """What an adapter brings, by the names in the base's files.

    Raises ReleaseError for experts that the base has in another number or size.
    """

    def found(beginning: tuple[str, str]) -> int:
        return sum(any(_is_held(name, entries) for name in _inside(_begun(name, beginning))) for name in parameters)

    parameters = adapter.parameters
    best, most = _BEGINNINGS[0], -1
    for beginning in _BEGINNINGS:  # the first of several that find as many: as it is, if nothing does better
        if (number := found(beginning)) > most:
            best, most = beginning, number
        if most == len(parameters):
            break
    trained = Trained(replaced={}, changes={})
    for parameter in parameters:
        _add(trained, adapter, parameter, _held_name(parameter, best, entries), entries)
    return trained


def _held_name(parameter: str, best: tuple[str, str], entries: Mapping[str, TensorEntry]) -> str:
    candidates = (
        name for beginning in (("", ""), best, *_BEGINNINGS) for name in _inside(_begun(parameter, beginning))
    )
    return next((name for name in candidates if _is_held(name, entries)), _begun(parameter, best))


def _add(trained: Trained, adapter: Adapter, parameter: str, name: str, entries: Mapping[str, TensorEntry]) -> None:
    """Note what the adapter does to a parameter, tensor by tensor where the base has one for each expert."""
    made = adapter.changes.get(parameter, ())
    entry = adapter.replaced.get(parameter)
    experts = tensors_of_experts(name, entries) if name not in entries else []
    if entry:
        trained.replaced.update(divided_entry(name, entry, experts, entries) if experts else {name: entry})
    if not made:
        return
    # PEFT changes a parameter of experts by nothing but one of these.
    if experts and isinstance(made[0], ExpertsLowRank):
        trained.changes.update({held: (part,) for held, part in divided(name, made[0], experts, entries).items()})
    else:
        trained.changes[name] = made


def _begun(name: str, beginning: tuple[str, str]) -> str:
    old, new = beginning
    return new + name.removeprefix(old) if name.startswith(old) else name


def _inside(name: str) -> Iterator[str]:
    for old, new in _INSIDES:
        yield name.replace(old, new) if old else name


def _is_held(name: str, entries: Mapping[str, TensorEntry]) -> bool:
    return name in entries or bool(tensors_of_experts(name, entries))


def layer_of(name: str) -> int | None:
    """The number of the layer that a module or a tensor is in; None outside of layers."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None
