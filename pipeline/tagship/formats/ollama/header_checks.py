"""What a GGUF says of itself, held against the model: what does not show in answers to a few prompts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagship.formats.differences import NotAsExported, listed
from tagship.formats.ollama.chat import Chat
from tagship.gguf.header import GgufHeader, GgufTensor, read_gguf_header
from tagship.gguf.quant_mix import GgufTensor as Unquantized
from tagship.gguf.quant_mix import Mix, ModelFacts, tensor_types
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.gguf.types import FILE_TYPES

# Kinds of rope scaling without a scale.
_UNSCALED = ("default", "mrope", "proportional")


def check_headers(parts: Sequence[Path], mix: Mix, chat: Chat, config: Mapping[str, Any], *, headed: bool) -> None:
    """Raise NotAsExported for a GGUF, in one or several files, that says or holds something else than a mix
    of types makes of a model with this configuration, that is talked to like this; `headed` is whether its weights have
    a head."""
    headers = [read_gguf_header(part) for part in parts]
    first, tensors = headers[0], [tensor for header in headers for tensor in header.tensors]
    found = [
        *(_head(tensors, config) if headed else ()),
        *_rope(first, tensors, config),
        *_chat(first, chat),
        *_types(first, tensors, mix),
    ]
    if found:
        raise NotAsExported(
            f"{parts[0].name} is not the {mix.quant} GGUF of this model: {listed(found)}",
            remedy="what runs it goes by what it says: export it again; nothing was published",
        )


def _head(tensors: Sequence[GgufTensor], config: Mapping[str, Any]) -> Iterator[str]:
    """Where a head is missing, llama.cpp takes the embedding for it, as if the two were tied."""
    tied = {_of_text(config).get("tie_word_embeddings"), config.get("tie_word_embeddings")} - {None}
    if tied == {False} and not any(tensor.name == "output.weight" for tensor in tensors):
        yield "output.weight, its head, is missing"


def _rope(header: GgufHeader, tensors: Sequence[GgufTensor], config: Mapping[str, Any]) -> Iterator[str]:
    text = _of_text(config)
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = scaling.get("rope_type") or scaling.get("type") if isinstance(scaling, dict) else None
    if not isinstance(kind, str) or kind in _UNSCALED:
        return
    factors = any(tensor.name.startswith("rope_factors") or tensor.name == "rope_freqs.weight" for tensor in tensors)
    keyed = any(".rope.scaling." in key and not key.endswith("original_context_length") for key in header.metadata)
    if not (factors or keyed):
        yield f"the rope scaling ({kind}) is missing"


def _of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _chat(header: GgufHeader, chat: Chat) -> Iterator[str]:
    template = header.text("tokenizer.chat_template")
    if chat.jinja is not None and template != chat.jinja:
        yield f"its chat template is {'missing' if template is None else 'another, or lacks a part'}"
    if chat.parameters["stop"] and header.number("tokenizer.ggml.eos_token_id") is None:
        yield "tokenizer.ggml.eos_token_id, the token that ends an answer, is missing"


def _types(header: GgufHeader, tensors: Sequence[GgufTensor], mix: Mix) -> Iterator[str]:
    """Types that are others than llama.cpp's mix of that name has, or than were chosen."""
    number = header.number("general.file_type")
    said = None if number is None else FILE_TYPES.get(number, number)
    if said != mix.quant.upper():
        yield f"general.file_type says {said}"
    plain = [Unquantized(name=tensor.name, shape=tensor.shape[::-1], type=tensor.type_name) for tensor in tensors]
    facts = ModelFacts.of(header.text("general.architecture") or "", header.metadata)
    types = tensor_types(mix, plain, facts, imatrix=header.text("quantize.imatrix.file") is not None)
    for tensor in plain:
        if may_be_quantized(tensor.name, tensor.shape) and tensor.type != types[tensor.name]:
            yield f"{tensor.name} is {tensor.type} and not {types[tensor.name]}"
