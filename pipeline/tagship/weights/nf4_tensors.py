"""Which tensors of a base bitsandbytes holds in 4 bits: the weights of linear modules, but for the head, by their names
and shapes alone.

transformers replaces every `nn.Linear` (integrations/bitsandbytes.py). Embeddings, norms and convolutions stay as they
are; so do the experts of transformers 5 and what routes to them, which are parameters of modules of another kind.
"""

from collections.abc import Collection, Mapping

from tagship.weights.linear_tensors import WEIGHT, is_linear, of_expert
from tagship.weights.nf4 import ToNf4
from tagship.weights.nf4_form import Nf4
from tagship.weights.safetensors import TensorEntry
from tagship.weights.tied_embeddings import is_head


def to_nf4(entries: Mapping[str, TensorEntry], form: Nf4, whole: Collection[str] = ()) -> dict[str, ToNf4]:
    """What becomes of the tensors of a base's files that are in 4 bits, but those that an adapter has `whole`."""
    return {
        name: ToNf4(size=(entry.shape[0], entry.shape[1]), dtype=entry.dtype, double=form.double)
        for name, entry in entries.items()
        if name not in whole and is_linear(name, entry, entries) and not of_expert(name)
        if form.holds(name.removesuffix(WEIGHT), head=is_head(name))
    }
