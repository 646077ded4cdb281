"""Which tensors of a base bitsandbytes holds in 4 bits: the weights of linear modules, but for the head, by their names
and shapes alone.

transformers replaces every `nn.Linear` (integrations/bitsandbytes.py). Embeddings, norms and convolutions stay as they
are; so do the experts of transformers 5 and what routes to them, which are parameters of modules of another kind.
"""

import re
from collections.abc import Collection, Mapping

from tagship.weights.nf4 import ToNf4
from tagship.weights.nf4_form import Nf4
from tagship.weights.safetensors import FLOATS, TensorEntry
from tagship.weights.tied_embeddings import is_head

_WEIGHT = ".weight"
_EMBEDDING = re.compile(r"(?:^|.*_)(?:embed|embedding|embeddings|embd|wte|wpe)(?:_.*)?|relative_attention_bias")
_NOT_EMBEDDING = re.compile(r".*_proj(?:ection)?|embed_out")
_ROUTERS = ("gate", "router")


def to_nf4(entries: Mapping[str, TensorEntry], form: Nf4, whole: Collection[str] = ()) -> dict[str, ToNf4]:
    """What becomes of the tensors of a base's files that are in 4 bits, but those that an adapter has `whole`."""
    return {
        name: ToNf4(size=(entry.shape[0], entry.shape[1]), dtype=entry.dtype, double=form.double)
        for name, entry in entries.items()
        if name not in whole and _is_linear(name, entry, entries)
        if form.holds(name.removesuffix(_WEIGHT), head=is_head(name))
    }


def _is_linear(name: str, entry: TensorEntry, entries: Mapping[str, TensorEntry]) -> bool:
    module = name.removesuffix(_WEIGHT)
    above, _, leaf = module.rpartition(".")
    if module == name or len(entry.shape) != 2 or entry.dtype not in FLOATS:
        return False
    if ".experts." in name or (leaf in _ROUTERS and _has_experts(above, entries)):
        return False
    return bool(_NOT_EMBEDDING.fullmatch(leaf)) or not _EMBEDDING.fullmatch(leaf)


def _has_experts(module: str, entries: Mapping[str, TensorEntry]) -> bool:
    return any(name.startswith(f"{module}.experts.") for name in entries)
