"""config.json as mlx-lm writes it, and reads it."""

import json
from collections.abc import Mapping
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.weights.affine import Affine
from tagship.weights.merge import MergedWeights
from tagship.weights.mlx_tensors import has_head, mlx_model, quantization_of

# What mlx-lm leaves out of it.
_UNUSED = ("_name_or_path", "vision_config")
_FULL, _SLIDING = "full_attention", "sliding_attention"


def mlx_config(
    config: Mapping[str, Any], generation: Mapping[str, Any], weights: MergedWeights, affine: Affine | None
) -> dict[str, Any]:
    """What config.json says, in mlx-lm's order, by the merged model's own and what generation_config.json says of how
    answers end. `weights` are those that are written. Raises ReleaseError where mlx-lm needs more."""
    model = mlx_model(config)
    made = {key: value for key, value in config.items() if key not in _UNUSED}
    made |= _ends(generation) | _positions(config)
    if "num_local_experts" in made:  # as transformers 5 calls them for all models
        made.setdefault("num_experts", made["num_local_experts"])
    # Where nothing is said mlx-lm has another default than transformers, for some models.
    made.setdefault("tie_word_embeddings", not has_head(weights.outputs))
    if affine:
        # The second one is what the Hub reads.
        made["quantization"] = made["quantization_config"] = quantization_of(weights, model, affine)
    if missing := sorted(model.needs - made.keys()):
        raise ReleaseError(
            f"config.json of the base has no {', '.join(missing)}, without which mlx-lm does not load the model",
            remedy="complete it by what transformers has for this model, or leave mlx out",
        )
    return dict(sorted(made.items()))


def as_text(document: Mapping[str, Any]) -> str:
    """JSON as mlx-lm writes it."""
    return json.dumps(document, indent=4)


def _ends(generation: Mapping[str, Any]) -> dict[str, Any]:
    ends = generation.get("eos_token_id")
    return {"eos_token_id": ends} if ends else {}


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    """How positions are encoded by the keys that mlx-lm reads, which transformers 5 writes no more."""
    said = config.get("rope_parameters")
    if not isinstance(said, dict):
        return {}
    found: dict[str, Any] = {}
    whole = said.get(_FULL)
    if isinstance(whole, dict):
        sliding = said.get(_SLIDING)
        if isinstance(sliding, dict) and "rope_theta" in sliding:
            found["rope_local_base_freq"] = sliding["rope_theta"]
        layers = config.get("layer_types")
        if isinstance(layers, list) and _FULL in layers:
            found["sliding_window_pattern"] = layers.index(_FULL) + 1
        said = whole
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in said:
            found[key] = said[key]
    kind = said.get("rope_type", "default")
    if kind != "default":
        found["rope_scaling"] = {**said, "type": kind}
    return {key: value for key, value in found.items() if config.get(key) is None}
