"""Synthetic checkpoints of a real model's shape: a Phi-3-mini with random weights, and an adapter.

Run as `python -m bench.checkpoint FOLDER LAYERS`; 32 layers are the real model's 3.8B parameters.
"""

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

_HIDDEN, _INTERMEDIATE, _VOCABULARY, _RANK = 3072, 8192, 32064, 32
_SHARD_BYTES = 2_000_000_000
_PROJECTIONS = {
    "self_attn.qkv_proj": (3 * _HIDDEN, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_up_proj": (2 * _INTERMEDIATE, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INTERMEDIATE),
}

# What reads and what says tokens: how much louder an embedding is than what layers add to it, and how much of a row of
# the head is the embedding of the token before.
_ENDS = ("model.embed_tokens.weight", "lm_head.weight")
_LOUD, _SURE = 400, 0.16


def make(folder: Path, layers: int) -> None:
    """Write `base/` (bf16, sharded) and `adapter/` (LoRA of rank 32 on every projection)."""
    random = np.random.default_rng(0)
    _write_base(folder / "base", layers, random)
    _write_adapter(folder / "adapter", folder / "base", layers, random)


def make_adapter(folder: Path, base: Path, seed: int) -> None:
    """Write another adapter for a base."""
    layers = json.loads((base / "config.json").read_text())["num_hidden_layers"]
    _write_adapter(folder, base, layers, np.random.default_rng(seed))


def make_apart(folder: Path, layers: int) -> None:
    """As `make`, in a process of its own: what a process has held is counted for its children too."""
    subprocess.run([sys.executable, "-m", "bench.checkpoint", str(folder), str(layers)], check=True)


def _write_base(folder: Path, layers: int, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    shapes = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}{name}.weight": shape for name, shape in _PROJECTIONS.items()}
        shapes |= {f"{prefix}{name}.weight": (_HIDDEN,) for name in ("input_layernorm", "post_attention_layernorm")}
    shapes |= {"model.norm.weight": (_HIDDEN,), "lm_head.weight": (_VOCABULARY, _HIDDEN)}
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        nbytes = 2 * int(np.prod(shape))
        if size + nbytes > _SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += nbytes
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: _tensor(random, name, shape).astype(ml_dtypes.bfloat16) for name, shape in shard.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(_config(layers)))


def _config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "dtype": "bfloat16",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 32000,
        "pad_token_id": 32000,
    }


def _write_adapter(folder: Path, base: Path, layers: int, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    tensors = {}
    for layer in range(layers):
        for name, (rows, columns) in _PROJECTIONS.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = _random(random, (_RANK, columns))
            tensors[f"{prefix}.lora_B.weight"] = _random(random, (rows, _RANK))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": _RANK,
        "lora_alpha": 2 * _RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name.rsplit(".", 1)[-1] for name in _PROJECTIONS],
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _tensor(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of a base that is sure of what comes next, as models that were trained are: its head mostly says what
    follows the token before in the vocabulary. Of random numbers alone thousands of tokens are equally likely, and a
    quantized copy soon goes another way."""
    if len(shape) == 1:  # of a norm
        return np.ones(shape, np.float32)
    values = _random(random, shape)
    if name in _ENDS:
        tokens = _random(np.random.default_rng(1), shape)  # the same for both
        if name == _ENDS[0]:
            return tokens * _LOUD
        values += _SURE * np.roll(tokens, 1, axis=0)
    return values


def _random(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values: np.ndarray = random.standard_normal(shape, dtype=np.float32)
    values *= 0.02
    return values


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
