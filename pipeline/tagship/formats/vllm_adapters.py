"""Whether vLLM serves an adapter beside its base, without merging: what its loader takes.

Source: vllm/lora/peft_helper.py, lora_model.py, and vllm/config/lora.py of vLLM 0.32, which reads rank_pattern and
alpha_pattern.
"""

from collections.abc import Iterable

from tagship.weights.adapter_config import AdapterConfig
from tagship.weights.safetensors import Header

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")


def vllm_refusals(config: AdapterConfig, weights: Header) -> tuple[str, ...]:
    """Why vLLM does not serve an adapter as it was trained, a reason each; none where it does."""
    return tuple(_refusals(config, weights))


def vllm_rank(rank: int) -> int:
    """The smallest of the ranks that vLLM can be told (`--max-lora-rank`) which holds this one."""
    return next(size for size in _RANKS if size >= rank)


def serve_line(base: str, name: str, adapter: str, config: AdapterConfig) -> str:
    """The command that serves an adapter, a Hub id or a folder, by a name beside its base."""
    rank = vllm_rank(config.largest_rank)
    return f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={adapter}"


def _refusals(config: AdapterConfig, weights: Header) -> Iterable[str]:
    names = weights.tensors
    if config.unsupported:
        yield "it is no plain LoRA"
    if config.dora or any("lora_magnitude_vector" in name for name in names):
        yield "it is DoRA"
    if config.target_parameters:
        yield "it adapts parameters of experts (target_parameters)"
    if any(name.endswith(".lora_B.bias") for name in names):
        yield "it has lora_bias"
    if any("trainable_tokens_delta" in name for name in names):
        yield "it has trained token rows"
    if any(name.endswith(_EMBEDDING) for name in names):
        yield "it adapts embeddings"
    whole = [name for name in names if "lora_" not in name and "trainable_tokens_delta" not in name]
    if any(name.endswith(".bias") for name in whole):
        yield "it has trained biases"
    if any(not name.endswith(".bias") for name in whole):
        yield "it has whole trained modules (modules_to_save)"
    if config.largest_rank > _RANKS[-1]:
        yield f"its rank {config.largest_rank} is above {_RANKS[-1]}"
