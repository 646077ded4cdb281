"""What mlx-lm knows of the models that it runs: their tensors, by the names of the base's files and by its own.

Read from mlx-lm 0.32 (models/*.py: the modules of each model and its `sanitize`), and held against what its `convert`
writes, model type by model type. What is not here is refused: a tensor that mlx-lm has no module for would keep it from
loading the model, and one that it reads otherwise would have it answer wrongly.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

# Whether a model has a head of its own: where config.json does not tie it; where the files have one; never; always.
UNTIED, HELD, NEVER, ALWAYS = "untied", "held", "never", "always"
# The keys of config.json that all need, and those that models with experts do.
_NEEDED = frozenset(
    {
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rms_norm_eps",
        "vocab_size",
    }
)
_NEEDED_BY_QWEN3 = frozenset({"head_dim", "max_position_embeddings", "rope_theta"})
_NEEDED_BY_EXPERTS = _NEEDED | {"moe_intermediate_size", "num_experts", "num_experts_per_tok"}


class Experts(Struct, frozen=True, kw_only=True):
    """Experts with a tensor for each, which mlx-lm stacks. `module` is what has them, and `names` are what its
    `switch_mlp` calls their matrices, by their names in the files."""

    module: str
    names: Mapping[str, str]


class MlxModel(Struct, frozen=True, kw_only=True):
    """The modules of a layer, those of them that may have a bias, and how the rest is. `eight_bits` are the modules
    that are quantized to 8 bits, in groups of 64, whatever the others are. `scalings` are the ways to stretch rotary
    embeddings that mlx-lm applies as transformers does; it passes over others. `needs` are the keys of config.json
    without which it does not load a model."""

    layer: frozenset[str]
    biased: frozenset[str] = frozenset()
    experts: Experts | None = None
    head: str = UNTIED
    eight_bits: frozenset[str] = frozenset()
    scalings: frozenset[str] = frozenset()
    needs: frozenset[str] = _NEEDED


_QKVO = frozenset(f"self_attn.{name}_proj" for name in "qkvo")
_QKV = _QKVO - {"self_attn.o_proj"}
_MLP = frozenset(f"mlp.{name}_proj" for name in ("gate", "up", "down"))
_NORMS = frozenset({"input_layernorm", "post_attention_layernorm"})
_QK_NORMS = frozenset({"self_attn.q_norm", "self_attn.k_norm"})
_MORE_NORMS = frozenset({"pre_feedforward_layernorm", "post_feedforward_layernorm"})
_DENSE = _QKVO | _MLP | _NORMS
_PROJECTIONS = {name: name for name in ("gate_proj", "up_proj", "down_proj")}

# mlx-lm's rope_utils; what it makes of `longrope` is not what transformers does with texts of ordinary length.
_SCALINGS = frozenset({"linear", "dynamic", "llama3", "yarn"})
_LLAMA = MlxModel(layer=_DENSE, biased=_QKVO | _MLP, scalings=_SCALINGS)
_GEMMA = MlxModel(layer=_DENSE, head=NEVER, needs=_NEEDED | {"head_dim"})
MODELS: Mapping[str, MlxModel] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": MlxModel(layer=_DENSE, biased=_QKV, scalings=_SCALINGS),
    "qwen3": MlxModel(
        layer=_DENSE | _QK_NORMS,
        scalings=_SCALINGS,
        needs=_NEEDED | {"head_dim", "max_position_embeddings", "rope_theta"},
    ),
    "gemma": _GEMMA,
    "gemma2": MlxModel(layer=_DENSE | _MORE_NORMS, head=NEVER, needs=_NEEDED | {"head_dim"}),
    "gemma3_text": MlxModel(layer=_DENSE | _MORE_NORMS | _QK_NORMS, head=HELD, scalings=_SCALINGS),
    "phi3": MlxModel(
        layer=_NORMS | {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"},
    ),
    "smollm3": _LLAMA,
    "mixtral": MlxModel(
        layer=_QKVO | _NORMS | {"block_sparse_moe.gate"},
        experts=Experts(module="block_sparse_moe", names={"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}),
    ),
    "qwen2_moe": MlxModel(
        layer=_QKVO
        | _NORMS
        | {"mlp.gate", "mlp.shared_expert_gate"}
        | {f"mlp.shared_expert.{name}" for name in _PROJECTIONS},
        biased=_QKV,
        experts=Experts(module="mlp", names=_PROJECTIONS),
        head=ALWAYS,
        needs=_NEEDED_BY_EXPERTS | {"shared_expert_intermediate_size"},
    ),
    "qwen3_moe": MlxModel(
        layer=_DENSE | _QK_NORMS | {"mlp.gate"},
        experts=Experts(module="mlp", names=_PROJECTIONS),
        eight_bits=frozenset({"mlp.gate"}),
        needs=_NEEDED_BY_EXPERTS
        | {
            "decoder_sparse_step",
            "head_dim",
            "max_position_embeddings",
            "mlp_only_layers",
            "norm_topk_prob",
            "rope_theta",
        },
    ),
}
# Beside the layers.
OUTSIDE = ("model.embed_tokens.weight", "model.norm.weight")
HEAD = "lm_head.weight"
# What older files have of rotary embeddings, and everybody computes.
UNUSED = re.compile(r".*\.rotary_emb\.inv_freq")
_LAYER = re.compile(r"model\.layers\.\d+\.(?P<module>.+)\.(?P<kind>weight|bias)")
_EXPERT = re.compile(r"(?P<before>model\.layers\.\d+\.)(?P<module>\w+)\.experts\.(?P<index>\d+)\.(?P<leaf>\w+)\.weight")
_STACK = re.compile(r"(?P<before>model\.layers\.\d+\.)(?P<module>\w+)\.switch_mlp\.(?P<leaf>\w+)\.weight")


def stack_of(model: MlxModel, name: str) -> tuple[str, int] | None:
    """The tensor of mlx-lm's that one of an expert is stacked in, and its place there; None for others."""
    found = _EXPERT.fullmatch(name)
    experts = model.experts
    if not (found and experts and found["module"] == experts.module and found["leaf"] in experts.names):
        return None
    return f"{found['before']}{experts.module}.switch_mlp.{experts.names[found['leaf']]}.weight", int(found["index"])


def of_experts(name: str) -> str | None:
    """What the tensors of experts are called that are stacked in one of mlx-lm's, with `{}` for an expert's number;
    None for other tensors."""
    found = _STACK.fullmatch(name)
    for experts in (model.experts for model in MODELS.values() if found):
        if experts and found and experts.module == found["module"]:
            leaf = next((leaf for leaf, other in experts.names.items() if other == found["leaf"]), found["leaf"])
            return f"{found['before']}{experts.module}.experts.{{}}.{leaf}.weight"
    return None


def module_of(name: str) -> str | None:
    """The module of a layer, without the layer, that a tensor is of; None outside of layers."""
    found = _LAYER.fullmatch(name)
    return found["module"] if found else None


def is_known(model: MlxModel, name: str) -> bool:
    """Whether mlx-lm has a place for a tensor, the head aside."""
    found = _LAYER.fullmatch(name)
    if found is None:
        return name in OUTSIDE
    modules = model.layer if found["kind"] == "weight" else model.biased
    return found["module"] in modules or stack_of(model, name) is not None
