"""Exports for MLX against mlx-lm: of each type of model that tagship knows, what it writes against what `convert`
writes of the merged model, and what mlx-lm answers with it against the merged model in transformers.

Run as `python -m bench.mlx_models [TYPE …]` where mlx and mlx-lm are installed (`pip install "mlx[cpu]" mlx-lm`; 0.32):
of tiny models with random weights, made by transformers. Compared are all tensors byte for byte, the index and
config.json as text, in bf16 and in 4 and 8 bits, and the logits of mlx-lm along some tokens with those of transformers,
both of the weights in bf16 computed in float32. Ends with 1 where something differs.
"""

import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.mlx_models import MODELS

from bench.exports import exported

_IDS = tuple(range(5, 40))
_SHAPE: Mapping[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}
_EXPERTS: Mapping[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 128,
}
# What else a type of model needs to be itself.
_MORE: Mapping[str, Mapping[str, Any]] = {
    "llama": {
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"sliding_window": None, "head_dim": 32},
    "qwen2": {"rope_parameters": {"rope_type": "default", "rope_theta": 1234.0}},
    "qwen3": {"head_dim": 64},
    "gemma": {"head_dim": 32, "tie_word_embeddings": True},
    "gemma2": {"head_dim": 32, "sliding_window": 64, "query_pre_attn_scalar": 32},
    "gemma3_text": {"head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32, "num_hidden_layers": 7},
    "phi3": {"original_max_position_embeddings": 128},
    "mixtral": {"num_local_experts": 4, "sliding_window": None},
    "qwen2_moe": dict(_EXPERTS),
    "qwen3_moe": {**_EXPERTS, "head_dim": 32, "norm_topk_prob": True},
}
# What else a way to stretch positions needs; texts here are longer than what the model began with.
_OF_SCALING: Mapping[str, Mapping[str, Any]] = {
    "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "yarn": {"original_max_position_embeddings": 16},
}
# What transformers 5 writes otherwise, or not, in config.json: `convert` is given these, too.
_OURS = (
    "num_experts",
    "partial_rotary_factor",
    "rope_local_base_freq",
    "rope_scaling",
    "rope_theta",
    "sliding_window_pattern",
    "tie_word_embeddings",
)
# How far logits of another library may be, in parts of their size.
_CLOSE = 0.002


def main(kinds: list[str]) -> int:
    """Print what was compared; the exit code."""
    failed = False
    for kind in kinds or MODELS:
        with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
            for what in chain(_compared(kind, Path(name)), _stretched(kind, Path(name))):
                failed |= "DIFFER" in what
                print(f"{kind}: {what}", flush=True)
    return int(failed)


def _compared(kind: str, folder: Path) -> Iterator[str]:
    base, run = _base(kind, folder / "base"), folder / "run"
    _adapter(base, run)
    merged = exported("vllm", None, base, run, folder / "merged")
    for quant in ("bf16", "8bit", "4bit"):
        ours, theirs = exported("mlx", quant, base, run, folder / quant), folder / f"theirs-{quant}"
        _complete(merged / "config.json", ours / "config.json")
        _convert(merged, theirs, quant)
        one, other = _tensors(ours), _tensors(theirs)
        differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        yield (
            f"{quant}: {len(one)} tensors, {len(differing)} DIFFER {differing[:3]}"
            if differing
            else (f"{quant}: all {len(one)} tensors are the same")
        )
        for file in ("model.safetensors.index.json", "config.json"):
            same = (ours / file).read_bytes() == (theirs / file).read_bytes()
            yield f"{quant}: {file} {'is the same' if same else 'DIFFER'}"
        if quant == "bf16":
            yield f"logits are {_beside(ours, merged)}"


def _stretched(kind: str, folder: Path) -> Iterator[str]:
    """Positions beyond what the model began with, in each way that mlx-lm is said to know."""
    for scaling in sorted(MODELS[kind].scalings):
        rope = {"rope_type": scaling, "rope_theta": 10000.0, "factor": 4.0, **_OF_SCALING.get(scaling, {})}
        if kind == "gemma3_text":
            rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
        base, run = (
            _base(kind, folder / f"base-{scaling}", rope_parameters=rope, max_position_embeddings=16),
            folder / "run",
        )
        merged = exported("vllm", None, base, run, folder / f"merged-{scaling}")
        ours = exported("mlx", "bf16", base, run, folder / f"ours-{scaling}")
        yield f"stretched by {scaling} logits are {_beside(ours, merged)}"


def _beside(ours: Path, merged: Path) -> str:
    expected, found = _reference(merged), _logits(ours)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    return f"{error:.6f} from those of transformers{' and DIFFER' if error > _CLOSE else ''}"


def _base(kind: str, folder: Path, **more: Any) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**_SHAPE, **_MORE.get(kind, {}), **more})
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    for parameter in model.parameters():  # biases are zero and norms one, otherwise
        parameter.data += (torch.randn(parameter.shape) * 0.03).to(torch.bfloat16)
    model.save_pretrained(folder)
    _tokenizer(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(384)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w3").save_pretrained(folder)


def _adapter(base: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    options = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, options, autocast_adapter_dtype=False)
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            parameter.data = torch.randn(parameter.shape) * 0.05
    adapted.save_pretrained(folder)


def _convert(merged: Path, folder: Path, quant: str) -> None:
    from mlx_lm import convert

    bits = int(quant[0]) if quant.endswith("bit") else None
    convert(str(merged), str(folder), quantize=bits is not None, q_bits=bits)


def _complete(merged: Path, ours: Path) -> None:
    """Give a configuration the keys that mlx-lm reads, and transformers 5 does not write."""
    one, other = (json.loads(path.read_text()) for path in (merged, ours))
    merged.write_text(json.dumps(one | {key: other[key] for key in _OURS if key in other}))


def _tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    return {
        name: (entry.dtype, entry.shape, hashlib.sha256(shard.read(name).tobytes()).hexdigest())
        for shard in open_checkpoint(folder).shards
        for name, entry in shard.tensors.items()
    }


def _reference(folder: Path) -> np.ndarray[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.asarray(model(torch.tensor([_IDS])).logits[0].numpy())


def _logits(folder: Path) -> np.ndarray[Any, Any]:
    import mlx.core as mx
    from mlx_lm import load

    model, _ = load(str(folder))
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([_IDS])).astype(mx.float32))[0]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
