"""What a tensor is to llama.cpp's mixes of types, by its name: `tensor_get_category` and `tensor_allows_quantization`
of `src/llama-quant.cpp`."""

import re
from collections.abc import Sequence
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

_NEVER = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
)
_NEVER_WHOLE = ("position_embd.weight", "token_types.weight")


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


def may_be_quantized(name: str, shape: Sequence[int]) -> bool:
    """Whether llama.cpp would quantize a tensor at all, by its name and shape."""
    # ggml does not count trailing dimensions of one, which are the first ones here.
    dimensions = next((len(shape) - i for i, size in enumerate(shape) if size != 1), 1)
    if dimensions < 2 or not name.endswith("weight") or name in _NEVER_WHOLE:
        return False
    return not any(part in name for part in _NEVER)
