"""Which tensors a GGUF of a model has and how large it is, told without llama.cpp's converter, of models whose tensors
have the names that most have: those of Llama, Mistral, Qwen, Gemma, Phi-3, SmolLM, Mixtral.

Read from `TensorNameMap` of gguf-py 0.19 (tensor_mapping.py).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from tagship.gguf.quant_mix import GgufTensor, Mix, ModelFacts, tensor_types
from tagship.gguf.types import TENSOR_TYPES
from tagship.weights.text_config import text_config

# Where a tensor begins in a file (`general.alignment`, as the converter leaves it), and bytes of what is told of each.
_ALIGNMENT, _TOLD = 32, 128
# Of Llama's family, whatever config.json calls it, is what llama.cpp has one name for.
_LLAMAS = ("llama", "mistral", "mixtral")
_TYPES = {known.name: known for known in TENSOR_TYPES.values()}
_WHOLE = {"embed_tokens": "token_embd", "lm_head": "output"}
_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp",
}
# Of one expert each, which are stacked.
_EXPERTS = {
    "gate_proj": "ffn_gate_exps",
    "up_proj": "ffn_up_exps",
    "down_proj": "ffn_down_exps",
    "w1": "ffn_gate_exps",
    "w3": "ffn_up_exps",
    "w2": "ffn_down_exps",
}
_NAME = re.compile(r"(?:model\.)?(?:layers\.(?P<layer>\d+)\.)?(?P<part>.+)\.weight")
_EXPERT = re.compile(r"(?:mlp|block_sparse_moe)\.experts\.\d+\.(?P<part>\w+)")


def foreseen_tensors(shapes: Mapping[str, Sequence[int]]) -> list[GgufTensor] | None:
    """The tensors that the converter makes of a model's, which have these shapes, unquantized; None where one of them
    has a name that is not known here. What has one dimension stays as it is under any name."""
    stacked: dict[str, list[Sequence[int]]] = defaultdict(list)
    for name, shape in shapes.items():
        known = _gguf_name(name) if len(shape) > 1 else name
        if known is None or len(shape) > 2:
            return None
        stacked[known].append(shape)
    if any(len(set(map(tuple, parts))) > 1 for parts in stacked.values()):
        return None
    return [
        GgufTensor(name=name, shape=(len(parts), *parts[0]) if len(parts) > 1 else parts[0], type="F32")
        for name, parts in stacked.items()
    ]


def _gguf_name(name: str) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part, layer = match["part"], match["layer"]
    if layer is None:
        return f"{_WHOLE[part]}.weight" if part in _WHOLE else None
    expert = _EXPERT.fullmatch(part)
    known = _EXPERTS.get(expert["part"]) if expert else _PARTS.get(part)
    return f"blk.{layer}.{known}.weight" if known else None


def foreseen_size(tensors: Iterable[GgufTensor], mix: Mix, config: Mapping[str, Any], *, imatrix: bool) -> int:
    """The bytes of a file of a mix with these tensors, but for the keys before them, as a tokenizer's: `config` is the
    model's config.json, `imatrix` whether one weighs the types."""
    tensors = list(tensors)
    types = tensor_types(mix, tensors, _facts(config), imatrix=imatrix)
    return sum(_nbytes(tensor.shape, types[tensor.name]) + _TOLD for tensor in tensors)


def _nbytes(shape: Sequence[int], name: str) -> int:
    kind = _TYPES[name]
    size = prod(shape) // kind.block * kind.nbytes
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _facts(config: Mapping[str, Any]) -> ModelFacts:
    config = text_config(config)
    architecture = str(config.get("model_type"))
    architecture = "llama" if architecture in _LLAMAS else architecture
    experts = config.get("num_local_experts") or config.get("num_experts")
    values = {
        "block_count": config.get("num_hidden_layers"),
        "expert_count": experts,
        "attention.head_count": config.get("num_attention_heads"),
        "attention.head_count_kv": config.get("num_key_value_heads"),
    }
    return ModelFacts.of(architecture, {f"{architecture}.{key}": value for key, value in values.items()})
