"""Which tensors of a base's files are the weights of linear modules, by their names and shapes alone: merging needs no
transformers."""

import re
from collections.abc import Mapping

from tagship.weights.safetensors import FLOATS, TensorEntry

WEIGHT = ".weight"
_EMBEDDING = re.compile(r"(?:^|.*_)(?:embed|embedding|embeddings|embd|wte|wpe)(?:_.*)?|relative_attention_bias")
_NOT_EMBEDDING = re.compile(r".*_proj(?:ection)?|embed_out")
_ROUTERS = ("gate", "router")
_EXPERTS = ".experts."
# Parts that see or hear.
_OF_SENSES = re.compile(r"(?:^|[._])(?:vision|visual|vit|image|audio|speech|mm|multi_modal)(?:[._]|$)")


def is_linear(name: str, entry: TensorEntry, entries: Mapping[str, TensorEntry]) -> bool:
    """Whether a tensor of a model is the weight of a linear module: not an embedding, nor what routes to experts.
    Those of single experts are, where files have a tensor for each; `entries` are all tensors of the model."""
    module = name.removesuffix(WEIGHT)
    above, _, leaf = module.rpartition(".")
    if module == name or len(entry.shape) != 2 or entry.dtype not in FLOATS:
        return False
    if leaf in _ROUTERS and _has_experts(above, entries):
        return False
    return bool(_NOT_EMBEDDING.fullmatch(leaf)) or not _EMBEDDING.fullmatch(leaf)


def of_expert(name: str) -> bool:
    """Whether a tensor is of the experts of a layer, of one or of all."""
    return _EXPERTS in name


def of_senses(name: str) -> bool:
    """Whether a tensor is of a part of the model that sees or hears."""
    return bool(_OF_SENSES.search(name))


def _has_experts(module: str, entries: Mapping[str, TensorEntry]) -> bool:
    return any(name.startswith(f"{module}{_EXPERTS}") for name in entries)
