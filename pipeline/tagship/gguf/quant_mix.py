"""Which type each tensor of a quantized GGUF gets: llama.cpp's own rule for its mixes.

Read from `src/llama-quant.cpp` of llama.cpp at revision 0c1e57098 (2026-10-01), functions
`tensor_allows_quantization`, `llama_tensor_get_type_impl` and `tensor_type_fallback`, for the
file types below, with and without an importance matrix, but for those that need one. Types are named as in ggml.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from msgspec import Struct

from tagship.gguf.tensor_categories import Category, category_of, layer_of, may_be_quantized
from tagship.gguf.tensor_choices import TensorChoice, chosen_type
from tagship.gguf.types import TENSOR_TYPES


class Quant(Struct, frozen=True):
    """A quantization type of a whole file: llama.cpp's name of it, and the type most tensors get. `needs_imatrix` is
    whether some of its types are only encoded by an importance matrix."""

    file_type: str
    tensor_type: str
    needs_imatrix: bool = False


QUANTS: Mapping[str, Quant] = {
    "f32": Quant("ALL_F32", "F32"),
    "f16": Quant("MOSTLY_F16", "F16"),
    "bf16": Quant("MOSTLY_BF16", "BF16"),
    "q8_0": Quant("MOSTLY_Q8_0", "Q8_0"),
    "q6_k": Quant("MOSTLY_Q6_K", "Q6_K"),
    "q5_k_m": Quant("MOSTLY_Q5_K_M", "Q5_K"),
    "q5_k_s": Quant("MOSTLY_Q5_K_S", "Q5_K"),
    "q4_k_m": Quant("MOSTLY_Q4_K_M", "Q4_K"),
    "q4_k_s": Quant("MOSTLY_Q4_K_S", "Q4_K"),
    "q4_0": Quant("MOSTLY_Q4_0", "Q4_0"),
    "iq4_nl": Quant("MOSTLY_IQ4_NL", "IQ4_NL"),
    "iq4_xs": Quant("MOSTLY_IQ4_XS", "IQ4_XS"),
    "q3_k_m": Quant("MOSTLY_Q3_K_M", "Q3_K"),
    "iq3_m": Quant("MOSTLY_IQ3_M", "IQ3_S"),
    "iq3_s": Quant("MOSTLY_IQ3_S", "IQ3_S"),
    "iq3_xs": Quant("MOSTLY_IQ3_XS", "IQ3_S", needs_imatrix=True),
    "iq3_xxs": Quant("MOSTLY_IQ3_XXS", "IQ3_XXS", needs_imatrix=True),
    "q2_k": Quant("MOSTLY_Q2_K", "Q2_K"),
    "iq2_m": Quant("MOSTLY_IQ2_M", "IQ2_S", needs_imatrix=True),
    "iq2_s": Quant("MOSTLY_IQ2_S", "IQ2_XS", needs_imatrix=True),
    "iq2_xs": Quant("MOSTLY_IQ2_XS", "IQ2_XS", needs_imatrix=True),
    "iq2_xxs": Quant("MOSTLY_IQ2_XXS", "IQ2_XXS", needs_imatrix=True),
    "iq1_m": Quant("MOSTLY_IQ1_M", "IQ1_M", needs_imatrix=True),
    "iq1_s": Quant("MOSTLY_IQ1_S", "IQ1_S", needs_imatrix=True),
}
# Types of tensors that ggml does not encode without an importance matrix, but for embeddings and heads.
WEIGHED = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
# Mixes with rules of their own.
_LOW_BITS, _LARGER_LOW_BITS = ("iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq1_s", "iq1_m"), ("iq2_s", "iq2_m")
_FLOATS = ("F32", "F16", "BF16")
# How many numbers a block of a type holds.
_BLOCKS = {known.name: known.block for known in TENSOR_TYPES.values()}
_FALLBACKS = {
    **dict.fromkeys((*WEIGHED, "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
# Embeddings that are not the head, too.
_EMBEDDINGS = {
    **dict.fromkeys(("iq2_xxs", "iq2_xs", "iq1_s", "iq1_m"), "Q2_K"),
    **dict.fromkeys(("iq2_s", "iq2_m", "iq3_xxs"), "IQ3_S"),
}
# Mixes that give the attention's output more bits in a mixture of eight experts.
_RAISED_OUTPUT = {"q2_k", "q3_k_m", "q4_k_s", "q4_k_m", "iq3_xxs", "iq3_xs", "iq3_s", "iq3_m", "iq4_nl", "iq4_xs"}
# llama.cpp calls these 70B by their number of layers.
_LAYERS_OF_70B = {"llama": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What the rule asks of the model; `gqa` is query heads for each key-value head."""

    architecture: str
    layers: int
    experts: int
    gqa: int

    @classmethod
    def of(cls, architecture: str, values: Mapping[str, Any]) -> "ModelFacts":
        """By the keys of a GGUF; of what there is a number for each layer, by the first."""

        def value(key: str, default: int) -> int:
            found = values.get(f"{architecture}.{key}")
            first = found[0] if isinstance(found, list) and found else found
            return int(first) if isinstance(first, Integral) and first else default

        heads = value("attention.head_count", 1)
        return cls(
            architecture=architecture,
            layers=value("block_count", 0),
            experts=value("expert_count", 0),
            gqa=heads // value("attention.head_count_kv", heads),
        )

    @property
    def is_70b(self) -> bool:
        layers = _LAYERS_OF_70B.get(self.architecture)
        return layers == self.layers and (self.architecture != "llama" or self.gqa > 1)


class GgufTensor(Struct, frozen=True, kw_only=True):
    """A tensor before quantization: `shape` is (rows …, columns), `type` what it has unquantized."""

    name: str
    shape: Sequence[int]
    type: str


def needs_importance(name: str, tensor_type: str) -> bool:
    """Whether a tensor is encoded in a type only by an importance matrix."""
    return tensor_type in WEIGHED and category_of(name) not in (Category.TOKEN_EMBD, Category.OUTPUT)


class Mix(Struct, frozen=True, kw_only=True):
    """Which type each tensor of a file gets: llama.cpp's mix of a name, but for what is chosen by patterns. Files of
    floats have but one type."""

    quant: str
    choices: tuple[TensorChoice, ...] = ()


def takes_choices(quant: str) -> bool:
    """Whether types may be chosen in a file of a type."""
    return QUANTS[quant].tensor_type not in _FLOATS


def tensor_types(
    mix: Mix, tensors: Iterable[GgufTensor], model: ModelFacts, *, imatrix: bool = False
) -> dict[str, str]:
    """The ggml type of every tensor in a file of a mix, by name; `imatrix` is whether there is one."""
    ordered = sorted(tensors, key=lambda tensor: (layer_of(tensor.name), tensor.name))
    rule = _Rule(mix, model, [tensor.name for tensor in ordered], imatrix)
    return {tensor.name: rule.type_of(tensor) for tensor in ordered}


class _Rule:
    """The rule's walk over the tensors, in llama.cpp's order: it counts what it has met."""

    def __init__(self, mix: Mix, model: ModelFacts, names: Sequence[str], imatrix: bool) -> None:
        self.quant, self.choices = mix.quant, mix.choices
        self.imatrix = imatrix
        self.default = QUANTS[mix.quant].tensor_type
        self.model = model
        self.tied = "output.weight" not in names
        self.values = sum(category_of(name) is Category.ATTN_V for name in names)
        self.met: Counter[Category] = Counter()

    def type_of(self, tensor: GgufTensor) -> str:
        if not may_be_quantized(tensor.name, tensor.shape):
            return tensor.type
        if self.default in _FLOATS:
            return self.default
        # What is chosen is not counted as met.
        return _fallback(chosen_type(tensor.name, self.choices) or self._mixed(tensor), tensor.shape[-1])

    def _mixed(self, tensor: GgufTensor) -> str:
        category = category_of(tensor.name)
        if category is Category.OUTPUT or (self.tied and category is Category.TOKEN_EMBD):
            return self._output(tensor)
        if category is Category.TOKEN_EMBD:
            return _EMBEDDINGS.get(self.quant, self.default)
        met = self.met[category]
        self.met[category] += 1
        if self.quant in _LOW_BITS:
            return self._of_low_bits(category, met)
        layer = layer_of(tensor.name) if self.model.experts > 1 else met
        if category is Category.ATTN_V:
            return self._attention_value(met)
        if category is Category.ATTN_K and self.model.experts == 8:
            return "Q8_0"
        if category in (Category.ATTN_K, Category.ATTN_Q):
            return {"iq3_xs": "IQ3_XXS", "iq3_xxs": "IQ2_S"}.get(self.quant, self.default)
        if category is Category.FFN_DOWN:
            return self._ffn_down(layer)
        if category in (Category.FFN_UP, Category.FFN_GATE):
            layers = self.model.layers
            lowered = self.quant == "iq3_xs" and layers // 8 <= layer < 7 * layers // 8
            return "IQ3_XXS" if lowered else self.default
        if category is Category.ATTN_OUTPUT and self.model.architecture != "falcon":
            return self._attention_output()
        return self.default

    def _of_low_bits(self, category: Category, met: int) -> str:
        larger = self.quant in _LARGER_LOW_BITS
        if category is Category.ATTN_V:
            if self.model.gqa >= 4 or self.model.experts >= 4:
                return "Q4_K"
            return "IQ3_S" if larger else "Q2_K"
        if category is Category.ATTN_K and self.model.experts == 8:
            return "Q4_K"
        if category is Category.FFN_DOWN and met < self.model.layers // 8:
            return "IQ3_S" if larger else "Q2_K"
        if category is Category.ATTN_OUTPUT:
            if self.model.experts == 8:
                return "Q5_K"
            return "IQ3_S" if larger else {"iq1_s": "IQ2_XXS", "iq1_m": "IQ2_XXS"}.get(self.quant, self.default)
        return self.default

    def _output(self, tensor: GgufTensor) -> str:
        if self.model.architecture == "falcon" or tensor.shape[-1] % _BLOCKS[self.default]:
            return "Q8_0"
        if self.quant in (*_LOW_BITS, "iq3_xxs"):
            return "Q5_K"
        return self.default if self.default == "Q8_0" else "Q6_K"

    def _attention_value(self, met: int) -> str:
        chosen = self.default
        if self.quant == "q2_k":
            chosen = "Q4_K" if self.model.gqa >= 4 else "Q3_K"
        elif self.quant == "iq3_m" or (self.quant in ("iq3_xxs", "iq3_xs", "iq3_s") and self.model.gqa >= 4):
            chosen = "Q4_K"
        elif self.quant == "q3_k_m":
            chosen = "Q5_K" if met < 2 else "Q4_K"
        elif self.quant in ("iq4_nl", "iq4_xs") and self.model.gqa >= 4:
            chosen = "Q5_K"
        elif self.quant in ("q4_k_m", "q5_k_m") and _more_bits(met, self.values):
            chosen = "Q6_K"
        elif self.quant == "q4_k_s" and met < 4:
            chosen = "Q5_K"
        if self.model.is_70b and chosen in ("Q3_K", "Q4_K"):
            chosen = "Q5_K"
        return "Q8_0" if self.model.experts == 8 else chosen

    def _ffn_down(self, layer: int) -> str:
        layers = self.model.layers
        falcon = self.model.architecture == "falcon"
        if self.quant == "q2_k":
            return "Q3_K"
        if self.quant == "q3_k_m":
            if layer < layers // 16:
                return "Q5_K"
            return "Q4_K" if not falcon or _more_bits(layer, layers) else "Q3_K"
        if self.quant == "q4_k_m" and falcon:
            if layer < layers // 16:
                return "Q6_K"
            return "Q5_K" if _more_bits(layer, layers) else "Q4_K"
        if self.quant in ("q4_k_m", "q5_k_m") and _more_bits(layer, layers):
            return "Q6_K"
        first_eighth = layer < layers // 8
        if self.quant == "iq3_m" and (first_eighth or (self.model.experts == 8 and _more_bits(layer, layers))):
            return "Q4_K"
        raised = (self.quant in ("iq4_nl", "iq4_xs") and not self.imatrix) or (self.quant == "q4_k_s" and not falcon)
        if first_eighth and raised:
            return "Q5_K"
        if first_eighth and self.quant == "q4_0" and self.imatrix:
            return "Q4_1"
        return self.default

    def _attention_output(self) -> str:
        if self.model.experts == 8:
            return "Q5_K" if self.quant in _RAISED_OUTPUT else self.default
        return {"q2_k": "Q3_K", "q3_k_m": "Q4_K", "iq3_xxs": "IQ3_S", "iq3_m": "Q4_K"}.get(self.quant, self.default)


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _fallback(chosen: str, columns: int) -> str:
    if columns % _BLOCKS[chosen] == 0:
        return chosen
    smaller = _FALLBACKS.get(chosen, chosen)
    return smaller if columns % _BLOCKS[smaller] == 0 else "F16"
