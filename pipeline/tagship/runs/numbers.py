"""Numbers of a model's configuration that no model has: libraries build what they are told to, and never end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tagship.runs.model_files import CONFIG_FILE, GENERATION_FILE, ModelFiles
from tagship.system.errors import ReleaseError
from tagship.weights.base_names import layer_of

# What a GGUF, and most libraries, hold a number in.
_LARGEST = (1 << 31) - 1
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
# Of a generation config what runtimes take.
_USED = ("eos_token_id", "bos_token_id", "pad_token_id", "max_new_tokens", "top_k", "temperature", "top_p", "min_p")
_SIZES = ("vocab_size", "hidden_size", "n_embd", "d_model")
# Of these some models have none.
_PARTS = (
    *("intermediate_size", "moe_intermediate_size", "head_dim", "num_attention_heads", "n_head", "num_key_value_heads"),
    *("num_experts", "num_local_experts", "n_routed_experts", "max_position_embeddings", "n_positions"),
)


def check_numbers(files: ModelFiles, tensors: Iterable[str]) -> None:
    """Raise ReleaseError for a configuration with a size that no model has, more layers than the base's `tensors` are
    of, or generation by numbers that no library holds."""
    config = files.document(CONFIG_FILE)
    inner = config.get("text_config")
    text = (config, inner if isinstance(inner, Mapping) else {})
    for part in (config, *(part for part in config.values() if isinstance(part, Mapping))):
        for key in (*_LAYERS, *_SIZES, *_PARTS):
            needed = key not in _PARTS and any(part is it for it in text)
            if key in part and not _is_size(part[key], least=1 if needed else -1):
                raise _refused(CONFIG_FILE, key, part[key])
    for key, value in _numbers(files.document(GENERATION_FILE)):
        if key in _USED and abs(value) > _LARGEST:
            raise _refused(GENERATION_FILE, key, value)
    held = max((number + 1 for name in tensors if (number := layer_of(name)) is not None), default=0)
    declared = declared_layers(config)
    if held and declared is not None and declared > held:
        raise ReleaseError(
            f"config.json says {declared} layers, the base model's weights are of {held}: the others would be random",
            remedy="fetch the model again, whole; or correct its config.json",
        )


def declared_layers(config: Mapping[str, Any]) -> int | None:
    """How many layers a configuration says that the text part of a model has; None where it does not say."""
    inner = config.get("text_config")
    parts = (inner if isinstance(inner, Mapping) else {}, config)
    return next((part[key] for part in parts for key in _LAYERS if type(part.get(key)) is int), None)


def _is_size(value: Any, least: int) -> bool:
    """Whether a value could be a size; lists have one for each layer, and some have none."""
    if isinstance(value, list):
        return all(_is_size(item, least) for item in value)
    if value is None:
        return True
    whole = (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )
    return whole and least <= value <= _LARGEST


def _numbers(document: Mapping[str, Any]) -> Iterator[tuple[str, int | float]]:
    for key, value in document.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int | float) and not isinstance(item, bool):
                yield key, item


def _refused(name: str, key: str, value: Any) -> ReleaseError:
    return ReleaseError(
        f"{name} has {key} = {value!r:.60}, which no model has",
        remedy="fetch the base model again; or correct the file, which may be the run's",
    )
