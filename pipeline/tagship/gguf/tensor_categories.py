"""What a tensor is to llama.cpp's mixes of types, by its name: `tensor_get_category` of `src/llama-quant.cpp`."""

import re
from enum import Enum, auto


class Category(Enum):
    """A part of a model that some mixes give a type of its own."""

    TOKEN_EMBD = auto()
    OUTPUT = auto()
    ATTN_V = auto()
    ATTN_K = auto()
    ATTN_Q = auto()
    ATTN_OUTPUT = auto()
    FFN_UP = auto()
    FFN_GATE = auto()
    FFN_DOWN = auto()
    OTHER = auto()


# In llama.cpp's order. What has queries, keys and values in one is as sensitive as values.
_PARTS = (
    ("attn_qkv.weight", Category.ATTN_V),
    ("attn_kv_b.weight", Category.ATTN_V),
    ("attn_v.weight", Category.ATTN_V),
    ("attn_k.weight", Category.ATTN_K),
    ("attn_q.weight", Category.ATTN_Q),
    ("attn_output.weight", Category.ATTN_OUTPUT),
    ("ffn_up", Category.FFN_UP),
    ("ffn_gate", Category.FFN_GATE),
    ("ffn_down", Category.FFN_DOWN),
)


def category_of(name: str) -> Category:
    """The category of a tensor."""
    if name == "output.weight":
        return Category.OUTPUT
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return Category.TOKEN_EMBD
    return next((category for part, category in _PARTS if part in name), Category.OTHER)


def layer_of(name: str) -> int:
    """The number of the layer that a tensor is of; -1 for one of none."""
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1
