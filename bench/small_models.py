"""Small models with real weights, made of GGUFs as package registries have them, and an adapter for each.

Where a model can only be had in 4 bits, its weights lie on a grid, and quantizing them again would lose less than it
does of other models. So each weight gets a uniform noise of up to half a step of its grid to either side, which is
what quantizing took away. A `wide` model computes the same with rows of 768 numbers: the hidden states have further
columns, of zeros. The blocks of K-quants have 256 numbers, and of a model with other rows llama.cpp encodes most in
other types.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from bench.small_tokenizers import write_tokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]
Tensors = dict[str, Array]

_WIDE = 768
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA = {"ffn_norm": "post_attention_layernorm"}
_GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
# Rank, tokens of a step, and steps: enough that every tensor of the adapter says something.
_RANK, _STEP, _STEPS = 8, 128, 16
_TRAINED_ON = sorted(Path(__file__).parents[1].glob("docs/*.md"))


def make(folder: Path, gguf: Path, *, wide: bool) -> None:
    """Write `base/` (bf16) and `adapter/`, trained for some steps on this project's documentation."""
    base = folder / "base"
    base.mkdir(parents=True)
    held = _Held(gguf)
    config, tensors = held.config(), held.tensors(np.random.default_rng(0))
    if wide:
        config, tensors = _widened(config, tensors)
    write_base(base, config, tensors)
    write_tokenizer(base, held.said)
    _train(base, folder / "adapter")


def write_base(base: Path, config: dict[str, Any], tensors: Tensors) -> None:
    """Write configuration and weights."""
    save_file(
        {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    (base / "config.json").write_text(json.dumps(config, indent=2))


class _Held:
    """What a GGUF holds, of a Llama or a Gemma 3."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self._reader = GGUFReader(path)
        self._kind = str(self.said("general.architecture"))

    def said(self, key: str, default: Any = None) -> Any:
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()

    def config(self) -> dict[str, Any]:
        heads = self._own("attention.head_count")
        common = {
            "dtype": "bfloat16",
            "vocab_size": len(self.said("tokenizer.ggml.tokens")),
            "hidden_size": self._own("embedding_length"),
            "intermediate_size": self._own("feed_forward_length"),
            "num_hidden_layers": self._own("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._own("attention.head_count_kv"),
            "max_position_embeddings": self._own("context_length"),
            "rms_norm_eps": float(self._own("attention.layer_norm_rms_epsilon")),
            "tie_word_embeddings": True,
            "bos_token_id": self.said("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.said("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.said("tokenizer.ggml.padding_token_id"),
        }
        theta = float(self._own("rope.freq_base"))
        if self._kind == "llama":
            size = self._own("embedding_length") // heads
            return common | {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "head_dim": size,
                "rope_theta": theta,
            }
        layers = range(1, self._own("block_count") + 1)
        return common | {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "head_dim": self._own("attention.key_length"),
            "query_pre_attn_scalar": self._own("attention.key_length"),
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": self._own("attention.sliding_window"),
            "layer_types": ["sliding_attention" if layer % 6 else "full_attention" for layer in layers],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        }

    def tensors(self, random: np.random.Generator) -> Tensors:
        """All of them by their names in transformers, with noise of a step of their grid."""
        return dict(self._tensors(random))

    def _tensors(self, random: np.random.Generator) -> Iterator[tuple[str, Array]]:
        from gguf.quants import dequantize

        for tensor in self._reader.tensors:
            values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
            if values.ndim > 1:
                values += random.uniform(-0.5, 0.5, values.shape).astype(np.float32) * _steps(values)
            elif self._kind != "llama":
                values -= 1  # its norms are stored as they are used
            if self._kind == "llama" and ("attn_q." in tensor.name or "attn_k." in tensor.name):
                values = _rotated_as_trained(values, self._own("rope.dimension_count"))
            yield self._named(tensor.name), values

    def _named(self, name: str) -> str:
        whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
        if name in whole:
            return whole[name]
        _, layer, part, _ = name.split(".")
        names = _NAMES | (_LLAMA if self._kind == "llama" else _GEMMA)
        return f"model.layers.{layer}.{names[part]}.weight"

    def _own(self, key: str) -> Any:
        return self.said(f"{self._kind}.{key}")


def _steps(values: Array) -> Array:
    """The step of the grid that each weight lies on: the least difference within its block."""
    blocks = values.reshape(-1, 16)  # the smallest blocks of any type
    steps = np.empty((len(blocks), 1), np.float32)
    for start in range(0, len(blocks), 1 << 18):
        apart = np.diff(np.sort(blocks[start : start + (1 << 18)], axis=1), axis=1)
        apart[apart <= 1e-5 * np.abs(apart).max(axis=1, keepdims=True)] = np.inf
        least = apart.min(axis=1, keepdims=True)
        steps[start : start + (1 << 18)] = np.where(np.isfinite(least), least, 0)
    repeated: Array = np.broadcast_to(steps, blocks.shape).reshape(values.shape)
    return repeated


def _rotated_as_trained(values: Array, size: int) -> Array:
    """The rows of queries or keys in the order of transformers, which pairs the halves of a head: llama.cpp has them
    side by side."""
    return values.reshape(-1, size // 2, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


# The same function with wider hidden states


def _widened(config: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], Tensors]:
    old = config["hidden_size"]
    share = old / _WIDE  # of the columns: by so much the mean of squares is less
    wide = config | {"hidden_size": _WIDE, "rms_norm_eps": config["rms_norm_eps"] * share}
    is_llama = config["model_type"] == "llama"
    if is_llama:  # as many numbers in all heads together, too
        wide["num_attention_heads"] = _WIDE // config["head_dim"]
    made = {}
    for name, given in tensors.items():
        values = given
        if values.ndim == 1:
            if len(values) == old:
                shift = 0 if is_llama else 1
                # Gemma multiplies embeddings by the root of the width, and its last norm has that taken back.
                scale = 1.0 if name == "model.norm.weight" and not is_llama else share**0.5
                values = np.pad((values + shift) * np.float32(scale) - shift, (0, _WIDE - old))
        elif is_llama and "q_proj" in name:
            values = _more_heads(_padded(values, 1, old), 0, config, wide)
        elif is_llama and "o_proj" in name:
            values = _padded(_more_heads(values, 1, config, wide), 0, old)
        else:
            into = 0 if "o_proj" in name or "down_proj" in name else 1
            values = _padded(values, into, old)
            if not is_llama and "embed" in name:
                values = values * np.float32(share**0.5)
        made[name] = values
    return wide, made


def _padded(values: Array, axis: int, old: int) -> Array:
    return np.pad(values, [(0, _WIDE - old if place == axis else 0) for place in range(2)])


def _more_heads(values: Array, axis: int, config: dict[str, Any], wide: dict[str, Any]) -> Array:
    """With further heads of zeros in each group that has keys in common."""
    groups, size = config["num_key_value_heads"], config["head_dim"]
    more = (wide["num_attention_heads"] - config["num_attention_heads"]) // groups * size
    moved = np.moveaxis(values, axis, 0)
    rest = moved.shape[1:]
    apart = moved.reshape(groups, -1, *rest)
    padded = np.pad(apart, [(0, 0), (0, more), *[(0, 0)] * len(rest)]).reshape(-1, *rest)
    return np.ascontiguousarray(np.moveaxis(padded, 0, axis))


# The adapter


def _train(base: Path, into: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in _TRAINED_ON)
    ids = AutoTokenizer.from_pretrained(base)(text)["input_ids"]
    asked = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), asked)
    optimizer = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=5e-4)
    for step in range(_STEPS):
        batch = torch.tensor([ids[step * _STEP : (step + 1) * _STEP]])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.save_pretrained(into)
