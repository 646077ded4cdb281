"""What the headers of weights say of a model: how many parameters it has, and of GGUFs their types."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from tagship.gguf.header import GgufHeader, parse_gguf_header
from tagship.lint.files import Files, document_in
from tagship.lint.held import Fact
from tagship.lint.quants import Quantized, quantized
from tagship.lint.sizes import Parameters
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE
from tagship.weights.linear_tensors import of_senses
from tagship.weights.safetensors import TensorEntry, parse_header
from tagship.weights.tied_embeddings import is_vocabulary

# How configurations call the number of experts, and of those that are used for a token.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
_USED = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "moe_k", "top_k_experts")
_OF_EXPERTS = re.compile(r"\.experts\.|\.switch_mlp\.|_exps\.|\.input_linear\.|\.output_linear\.")
_VOCABULARY_OF_GGUF = ("token_embd.weight", "output.weight")
_MOST_EXPERTS = 10_000
# Weights whose elements are the model's; others are packed, several to an element.
_PLAIN = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
# Of other types are only small things, such as positions.
_SMALL = 1_000
# What stands beside a quantized matrix, and what a packed one is called (compressed-tensors; DeepSeek's own FP8).
_BESIDE = re.compile(r"(?:_scale|_scale_inv|_global_scale|_zero_point|_shape|_g_idx)$")
_PACKED = "_packed"
_SHARD = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


class Ggufs(Struct, frozen=True, kw_only=True):
    """What a folder's GGUFs say: types by file name (the first part of one that is divided), versions, and of the first
    model its architecture, parameters and whether it has a chat template."""

    files: Mapping[str, Quantized]
    versions: Mapping[str, str] = field(default_factory=dict)
    architecture: Fact[str] | None = None
    parameters: Fact[Parameters] | None = None
    chat_template: bool | None = None


def read_parameters(files: Files, config: Mapping[str, Any]) -> Fact[Parameters] | None:
    """The sum over all safetensors headers, of quantized matrices without their scales; None where weights are packed
    in a way that is not known, so that nobody can count them, or not all of them are there. Raises ReleaseError for a
    damaged header."""
    names = [SINGLE_FILE]
    if SINGLE_FILE not in files.names():
        weight_map = document_in(files, INDEX_FILE).get("weight_map")
        shards = weight_map.values() if isinstance(weight_map, dict) else ()
        names = sorted({name for name in shards if isinstance(name, str)})
    if not names or set(names) - set(files.names()):
        return None
    entries: dict[str, TensorEntry] = {}
    for name in names:
        with files.open(name) as (file, size):
            entries |= parse_header(file, size, Path(f"{files.place}/{name}"))[0]
    elements = _elements(entries, config)
    if elements is None:
        return None
    where = names[0] if len(names) == 1 else f"{len(names)} safetensors headers"
    vocabulary = [name for name in elements if is_vocabulary(name)]
    return Fact(_counted(elements, vocabulary, _number(config, _EXPERTS, 2), _number(config, _USED, 1)), where)


def _elements(entries: Mapping[str, TensorEntry], config: Mapping[str, Any]) -> dict[str, int] | None:
    """How many of a model's numbers each tensor holds; None where they are packed in a way that is not known."""
    said = config.get("quantization_config")
    bits = _bits(said) if isinstance(said, dict) else None
    elements: dict[str, int] = {}
    for name, entry in entries.items():
        if isinstance(said, dict) and _BESIDE.search(name):
            continue
        if bits and name.endswith(_PACKED):
            elements[name.removesuffix(_PACKED)] = 8 * entry.nbytes // bits
        elif entry.dtype not in _PLAIN and entry.elements > _SMALL:
            return None
        else:
            elements[name] = entry.elements
    return elements


def _bits(said: Mapping[str, Any]) -> int | None:
    """Of the numbers in packed matrices, where all have the same."""
    groups = said.get("config_groups")
    listed = groups.values() if isinstance(groups, dict) else ()
    weights = [group.get("weights") for group in listed if isinstance(group, dict)]
    found = {each.get("num_bits") for each in weights if isinstance(each, dict)}
    bits = found.pop() if len(found) == 1 else None
    return bits if type(bits) is int and 0 < bits <= 8 else None


def read_ggufs(files: Files, names: Iterable[str]) -> Ggufs:
    """What the GGUFs of these names say. Raises ReleaseError for a damaged header."""
    headers: dict[str, GgufHeader] = {}
    for name in names:
        with files.open(name) as (file, size):
            headers[name] = parse_gguf_header(file, size, f"{files.place}/{name}")
    # Of a divided one only the first part says what it is; all have some of the tensors.
    first = {name: header for name, header in headers.items() if not _SHARD.search(name) or "-00001-of-" in name}
    tensors = {name: [tensor for part in _parts(headers, name) for tensor in part.tensors] for name in first}
    kinds = {name: quantized(header, tensors[name]) for name, header in first.items()}
    models = {name: header for name, header in first.items() if kinds[name].kind == "model"}
    if not models:
        return Ggufs(files=kinds)
    whole = all(len(_parts(headers, name)) == _number_of_parts(name) for name in models)
    name, header = next(iter(models.items()))
    architecture = header.text("general.architecture")
    elements = {tensor.name: tensor.elements for tensor in tensors[name]}
    vocabulary = [tensor for tensor in _VOCABULARY_OF_GGUF if tensor in elements]
    experts, used = (header.number(f"{architecture}.{key}") or 0 for key in ("expert_count", "expert_used_count"))
    return Ggufs(
        files=kinds,
        versions={name: text for name, header in models.items() if (text := header.text("general.version"))},
        architecture=Fact(architecture, name) if architecture else None,
        parameters=Fact(_counted(elements, vocabulary, experts, used), name) if whole and elements else None,
        chat_template=header.text("tokenizer.chat_template") is not None,
    )


def _number_of_parts(name: str) -> int:
    found = _SHARD.search(name)
    return int(found[1]) if found else 1


def _parts(headers: Mapping[str, GgufHeader], first: str) -> list[GgufHeader]:
    if not _SHARD.search(first):
        return [headers[first]]
    stem = _SHARD.sub("", first)
    return [header for name, header in headers.items() if _SHARD.search(name) and _SHARD.sub("", name) == stem]


def _counted(elements: Mapping[str, int], vocabulary: Iterable[str], experts: int, used: int) -> Parameters:
    return Parameters(
        total=sum(elements.values()),
        vocabulary=sum(elements[name] for name in vocabulary),
        senses=sum(number for name, number in elements.items() if of_senses(name)),
        in_experts=sum(number for name, number in elements.items() if experts and _OF_EXPERTS.search(name)),
        experts=experts,
        used=used if experts else 0,
    )


def _number(config: Mapping[str, Any], keys: Iterable[str], at_least: int) -> int:
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for key in keys:
            if type(part.get(key)) is int and at_least <= part[key] <= _MOST_EXPERTS:
                return int(part[key])
    return 0
