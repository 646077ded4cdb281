"""Which tensors of a merged model a scheme quantizes, and what of a model cannot be."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.weights.affine import Affine
from tagship.weights.linear_tensors import WEIGHT, is_linear, of_expert, of_senses
from tagship.weights.safetensors import TensorEntry
from tagship.weights.schemes import Scheme
from tagship.weights.tied_embeddings import is_head

# What weighs the shared expert, a vector, vLLM has in 16 bits.
_NEVER = ("shared_expert_gate",)
# What vLLM computes as one matrix, for which the scales of scales have to be the same (llm-compressor,
# entrypoints/model_free/microscale.py).
_JOINED = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<before>.*(?:attn|attention)\.)(?P<leaf>q_proj|k_proj|v_proj)\.weight",
        r"(?P<before>.*(?:attn|attention)\.)(?P<leaf>wq_a|wkv_a_with_mqa)\.weight",
        r"(?P<before>.*mlp\.)(?P<leaf>gate_proj|up_proj)\.weight",
        r"(?P<before>.*)(?P<leaf>w1|w3)\.weight",
    )
)
_NUMBER_JOINED = (3, 2, 2, 2)
# All but the last of what vLLM joins must end where a block of scales does (vLLM, validate_fp8_block_shape), and of
# experts each.
_BEFORE_OTHERS = re.compile(r"\.(?:q_proj|k_proj|gate_proj|w1)\.weight$")
_JOINED_EXPERTS = re.compile(r"\.(?:gate_proj|up_proj|w1|w3)\.weight$")
# What a base has joined itself is held to the same (vLLM 0.32, QKVParallelLinear and MergedColumnParallelLinear).
_QKV = re.compile(r"\.(?:qkv_proj|query_key_value|W_pack|Wqkv|wqkv|c_attn)\.weight$")
_GATE_UP = re.compile(r"\.gate_up_proj\.weight$")
_MOST = 4
_DTYPES = ("BF16", "F16", "F32")


class Packing(Struct, frozen=True, kw_only=True):
    """How a tensor is written: quantized by a scheme, or as MLX does it. `joined` are the tensors, itself among them,
    that have the same scale of scales."""

    scheme: Scheme | Affine
    joined: tuple[str, ...] = ()


def packings(
    entries: Mapping[str, TensorEntry], scheme: Scheme, config: Mapping[str, Any], *, transposed: bool
) -> dict[str, Packing]:
    """How the tensors of a merged model are quantized, by name: the weights of linear modules that read text, but for
    the head and what routes to experts. `config` is its config.json; `transposed` is whether it keeps its weights so.

    Raises ReleaseError, tensor by tensor, for what the scheme or vLLM cannot have."""
    if transposed:
        raise ReleaseError(
            f"{scheme.name} needs weights of linear modules, and this model keeps them transposed (Conv1D)",
            remedy=f"leave {scheme.name} out of [formats.vllm] schemes",
        )
    chosen = {
        name: entry
        for name, entry in entries.items()
        if is_linear(name, entry, entries) and not (is_head(name) or of_senses(name) or _leaf(name) in _NEVER)
    }
    if problems := list(_problems(entries, chosen, scheme, config)):
        raise ReleaseError(
            f"{scheme.name} cannot be made of this model: {'; '.join(problems[:_MOST])}"
            + (f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""),
            remedy="leave it out of [formats.vllm] schemes: fp8-dynamic takes matrices of any size",
        )
    joined = _joined(list(chosen)) if scheme.shared else {}
    return {name: Packing(scheme=scheme, joined=joined.get(name, (name,))) for name in chosen}


def ignored_modules(entries: Mapping[str, TensorEntry], chosen: Mapping[str, Packing]) -> list[str]:
    """The modules with a matrix that stays in 16 bits, as `quantization_config` names them."""
    return sorted(
        name.removesuffix(WEIGHT)
        for name, entry in entries.items()
        if name.endswith(WEIGHT) and len(entry.shape) > 1 and name not in chosen
    )


def _problems(
    entries: Mapping[str, TensorEntry], chosen: Mapping[str, TensorEntry], scheme: Scheme, config: Mapping[str, Any]
) -> Iterator[str]:
    if not chosen:
        yield "it has no weights of linear modules in floats"
    for name, entry in entries.items():
        if of_expert(name) and len(entry.shape) > 2:
            yield f"{name} holds the experts of a layer in one tensor"
    for name, entry in chosen.items():
        rows, columns = entry.shape
        if entry.dtype not in _DTYPES:
            yield f"{name} is {entry.dtype}"
        elif columns % scheme.columns:
            yield f"{name} has {columns} columns, which is no multiple of {scheme.columns}"
        elif rows % scheme.height and (_JOINED_EXPERTS if of_expert(name) else _BEFORE_OTHERS).search(name):
            yield f"{name} has {rows} rows, and vLLM loads it only if that is a multiple of {scheme.height}"
        elif odd := [size for size in _before_the_last(name, rows, config) if size % scheme.height]:
            yield (
                f"{name} joins several, one of {odd[0]} rows, and vLLM loads it only if that is a multiple of "
                f"{scheme.height}"
            )


def _before_the_last(name: str, rows: int, config: Mapping[str, Any]) -> Sequence[int]:
    """The rows of all but the last of what a base has joined in a matrix; of queries and keys, as far as config.json
    tells."""
    if _GATE_UP.search(name):
        return [rows // 2]
    if not _QKV.search(name):
        return []
    inner = config.get("text_config")
    said = inner if isinstance(inner, dict) else config
    heads, hidden = (said.get(key) for key in ("num_attention_heads", "hidden_size"))
    if not (isinstance(heads, int) and isinstance(hidden, int) and heads > 0):
        return []
    size = said.get("head_dim")
    queries = heads * (size if isinstance(size, int) else hidden // heads)
    return [queries, (rows - queries) // 2] if queries < rows else []


def _joined(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pattern, number in zip(_JOINED, _NUMBER_JOINED, strict=True):
        sets: dict[str, list[str]] = {}
        for name in names:
            if match := pattern.fullmatch(name):
                sets.setdefault(match["before"], []).append(name)
        for together in sets.values():
            if len(together) == number:
                found |= dict.fromkeys(together, tuple(together))
    return found


def _leaf(name: str) -> str:
    return name.removesuffix(WEIGHT).rpartition(".")[2]
