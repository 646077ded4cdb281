"""The quantization type of a GGUF: as the Hub and Ollama read it in the file's name, and as the file itself has it."""

import re
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from tagship.gguf.header import GgufHeader, GgufTensor
from tagship.gguf.labels import LABEL, MIXES, ONLY_IN_NAMES
from tagship.gguf.types import FILE_TYPES

_SHARD = re.compile(r"-(?P<number>\d{5})-of-(?P<total>\d{5})$")
_SIZE_LABEL = re.compile(r"(?:\d+x)?(?:\d+\.)?\d+[QTBMK]", re.IGNORECASE)
_VERSION = re.compile(r"v\d+(?:\.\d+)*(?:[-+_].*)?", re.IGNORECASE)
# Where a row is no multiple of a type's block, llama.cpp takes the next one (llama-quant.cpp, tensor_type_fallback).
_INSTEAD = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), ("IQ4_NL",)),
    "Q2_K": ("Q4_0", "IQ4_NL"),  # the second by older versions, as of the next one
    "Q3_K": ("Q4_0", "IQ4_NL"),
    "Q4_K": ("Q5_0",),
    "Q5_K": ("Q5_1",),
    "Q6_K": ("Q8_0",),
}
# What experts come in that were trained in it (gpt-oss): nobody quantizes them again, whatever the file's type.
_AS_TRAINED = "MXFP4"
# The type of most tensors, where a file's type is not called so (llama-quant.cpp, llama_ftype_get_default_type).
_TENSORS_OF = {
    "IQ3_XS": ("IQ3_S", "IQ3_XXS"),
    "IQ3_M": ("IQ3_S",),
    "IQ2_S": ("IQ2_XS", "IQ2_S"),
    "IQ2_M": ("IQ2_S",),
    "MXFP4_MOE": ("MXFP4",),
}
# Of a mix, other types may have more; of what it is called for there is always as much as this.
_AT_LEAST = 0.1


class Quantized(Struct, frozen=True, kw_only=True):
    """A GGUF by its header: `kind` is what it is (`model`, `adapter`, `mmproj`, …), `file_type` the label of its
    `general.file_type`, `shares` how much of the weights each type of tensors has, the largest first."""

    kind: str
    file_type: str | None
    shares: tuple[tuple[str, float], ...]

    @property
    def contradiction(self) -> str | None:
        """The type that most tensors have, where hardly any has one that the file's type is called for."""
        if self.file_type is None or not self.shares:
            return None
        types = tensor_types_of(self.file_type)
        if sum(share for name, share in self.shares if name in types) >= _AT_LEAST:
            return None
        if self.shares[0][0] == _AS_TRAINED:
            return None
        return self.shares[0][0]


def quantized(header: GgufHeader, tensors: Sequence[GgufTensor]) -> Quantized:
    """What a header says of types, and `tensors`, which are those of all parts where a file is divided. Embeddings and
    heads are left out, as every mix has others for them."""
    number = header.number("general.file_type")
    weights = [tensor for tensor in tensors if len(tensor.shape) > 1 and not _is_vocabulary(tensor)]
    return Quantized(
        kind=header.text("general.type") or "model",
        file_type=None if number is None else FILE_TYPES.get(number, f"type {number}"),
        shares=_shares(weights),
    )


def same_type(label: str, file_type: str) -> bool:
    """Whether a label in a name may stand on a file of that type: its own, or one of somebody's mixes of it."""
    match = LABEL.fullmatch(label)
    quant = match["quant"] if match else label
    if quant in MIXES or label.startswith("UD-"):
        return quant[:4] == file_type[:4] or quant.startswith("Q8_K") or not quant.startswith("Q")
    return quant == file_type or (quant in ONLY_IN_NAMES and quant[:4] == file_type[:4])


def tensor_types_of(file_type: str) -> tuple[str, ...]:
    """The types of tensors that a file's type is called for, with what stands in where rows do not fit them."""
    own = _TENSORS_OF.get(file_type) or (re.sub(r"(?<=_K)_[SML]$", "", file_type),)
    return (*own, *(other for name in own for other in _INSTEAD.get(name, ())))


def missing_parts(file_name: str) -> list[str]:
    """What a file's name lacks by the GGUF naming convention (ggml, docs/gguf.md):
    `BaseName-SizeLabel-FineTune-Version-Encoding-Type-Shard.gguf`, where base name, size and version must be there."""
    stem = _SHARD.sub("", file_name.rpartition("/")[2].removesuffix(".gguf"))
    _, *parts = stem.split("-")
    return [
        what
        for what, pattern in (("a size label such as 3.8B", _SIZE_LABEL), ("a version such as v1.0", _VERSION))
        if not any(pattern.fullmatch(part) for part in parts)
    ]


def _shares(tensors: Sequence[GgufTensor]) -> tuple[tuple[str, float], ...]:
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.type_name] += tensor.elements
    total = sum(elements.values())
    return tuple((name, number / total) for name, number in elements.most_common() if total)


def _is_vocabulary(tensor: GgufTensor) -> bool:
    return tensor.name in ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
