"""A LoRA adapter as PEFT saves it, as the deltas that it adds to the base's tensors.

What is merged here is plain LoRA: `W + scale * B @ A`, with rank-stabilised scaling, rank and
alpha patterns, and transposed (`fan_in_fan_out`) weights. All else is refused by name, never
dropped: every tensor of the adapter is consumed exactly once, or the export fails.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import ReleaseError
from pipeline.weights.checkpoint import Checkpoint
from pipeline.weights.safetensors import Header, TensorEntry, read_header

T = TypeVar("T")

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# Initialisations that change the base weights, so that the adapter does not fit the original base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# What PEFT can add to plain LoRA, by its key in the configuration.
_VARIANTS = {
    "use_dora": "DoRA",
    "modules_to_save": "whole trained modules",
    "trainable_token_indices": "trained token rows",
    "target_parameters": "adapted parameters",
    "lora_bias": "biases in the adapter",
    "layer_replication": "repeated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "kasa_config": "KaSA",
    "arrow_config": "Arrow routing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What adapter_config.json says, as far as a release needs it."""

    base_model: str
    revision: str | None
    rank: int
    alpha: float
    rank_stabilised: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    transposed: bool
    target_modules: tuple[str, ...]
    unsupported: tuple[str, ...]

    def rank_of(self, module: str) -> int:
        """The rank of a module's A and B."""
        return int(_by_pattern(self.rank_pattern, module, self.rank))

    @property
    def largest_rank(self) -> int:
        """The highest rank of any module: what a server must make room for."""
        return max([self.rank, *self.rank_pattern.values()])

    def scale_of(self, module: str) -> float:
        """The factor of `B @ A` for a module (PEFT, LoraLayer.update_layer)."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraDelta:
    """What the adapter adds to one tensor of the base.

    `a` is (rank, in), `b` is (out, rank); the base tensor is (out, in), or (in, out) when
    `transposed`.
    """

    tensor: str
    a: TensorEntry
    b: TensorEntry
    scale: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the base's tensor must have."""
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter on disk: its weights' header, and a delta for each tensor that it changes."""

    folder: Path
    config: AdapterConfig
    weights: Header
    deltas: Mapping[str, LoraDelta]


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read adapter_config.json. Raises ReleaseError when it is missing or malformed."""
    path = folder / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _config(document)
    except FileNotFoundError:
        raise ReleaseError(
            f"{folder} has no {CONFIG_FILE}, so it is no finished training run",
            remedy="finish the training, save the adapter there with save_pretrained(…), or choose another --run",
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, re.error) as error:
        raise ReleaseError(f"{path} is not a PEFT adapter's configuration: {error!r}") from None


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter. Raises ReleaseError for what is damaged or cannot be merged, by name."""
    config = read_adapter_config(folder)
    if config.unsupported:
        raise ReleaseError(
            f"the adapter in {folder} cannot be merged: {'; '.join(config.unsupported)}",
            remedy="train it as plain LoRA, or release the lora format alone with --format lora",
        )
    weights = read_header(folder / WEIGHTS_FILE)
    sides: dict[str, dict[str, TensorEntry]] = {}
    left_over = []
    for name, entry in weights.tensors.items():
        match = _KEY.fullmatch(name)
        if match and len(entry.shape) == 2 and entry.dtype in ("F32", "F16", "BF16", "F64"):
            sides.setdefault(match["module"], {})[match["side"]] = entry
        else:
            left_over.append(name)
    left_over += [entry.name for found in sides.values() if len(found) == 1 for entry in found.values()]
    if left_over or not sides:
        raise ReleaseError(
            f"{weights.path} has tensors that no rule of merging consumes: {_listed(left_over) or 'it has none'}"
        )
    return Adapter(
        folder=folder,
        config=config,
        weights=weights,
        deltas={delta.tensor: delta for delta in (_delta(config, *item) for item in sides.items())},
    )


def check_fit(adapter: Adapter, base: Checkpoint) -> None:
    """Raise ReleaseError, tensor by tensor, when the adapter was not made for this base."""
    entries = base.entries()
    problems = []
    for delta in adapter.deltas.values():
        found = entries.get(delta.tensor)
        if found is None:
            problems.append(f"{delta.tensor} is not in the base")
        elif found.shape != delta.shape:
            problems.append(f"{delta.tensor} is {list(found.shape)}, the adapter needs {list(delta.shape)}")
        elif found.dtype not in ("F32", "F16", "BF16", "F64"):
            problems.append(f"{delta.tensor} is {found.dtype}: a quantized base cannot take a merge")
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ReleaseError(
            f"the adapter {adapter.folder.name} does not fit the base model in {base.folder}:\n{listed}",
            remedy="name the base that it was trained on with --base",
        )


def _config(document: dict[str, Any]) -> AdapterConfig:
    return AdapterConfig(
        base_model=document.get("base_model_name_or_path") or "",
        revision=document.get("revision"),
        rank=_rank(document["r"]),
        alpha=float(document["lora_alpha"]),
        rank_stabilised=bool(document.get("use_rslora")),
        rank_pattern=_patterns(document.get("rank_pattern"), _rank),
        alpha_pattern=_patterns(document.get("alpha_pattern"), float),
        transposed=bool(document.get("fan_in_fan_out")),
        target_modules=_target_modules(document.get("target_modules")),
        unsupported=tuple(_unsupported(document)),
    )


def _target_modules(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(sorted(value or ()))


def _rank(value: Any) -> int:
    rank = int(value)
    if rank < 1:
        raise ValueError(f"{value!r} is no rank")
    return rank


def _patterns(value: Any, number: Callable[[Any], T]) -> dict[str, T]:
    patterns = dict(value or {})
    for pattern in patterns:
        re.compile(pattern)
    return {pattern: number(given) for pattern, given in patterns.items()}


def _unsupported(document: dict[str, Any]) -> list[str]:
    problems = []
    if document.get("peft_type") != "LORA":
        problems.append(f"it is {document.get('peft_type')}, not LORA")
    initialised = str(document.get("init_lora_weights") or "").lower()
    if initialised.startswith(_CHANGES_BASE):
        problems.append(f"it was initialised by {initialised}, which changes the base weights")
    for key, meaning in _VARIANTS.items():
        if document.get(key):
            problems.append(f"{key} ({meaning}) is not merged yet")
    if (document.get("bias") or "none") != "none":
        problems.append(f"bias = {document['bias']!r} is not merged yet")
    return problems


def _delta(config: AdapterConfig, module: str, sides: Mapping[str, TensorEntry]) -> LoraDelta:
    rank, ranks = config.rank_of(module), (sides["A"].shape[0], sides["B"].shape[1])
    if ranks != (rank, rank):
        raise ReleaseError(
            f"{module} has the rank {rank} by {CONFIG_FILE}, but {ranks[0]} in its lora_A and {ranks[1]} in its lora_B",
            remedy="the adapter's configuration and weights are of different runs: save it again",
        )
    return LoraDelta(
        tensor=f"{module}.weight",
        a=sides["A"],
        b=sides["B"],
        scale=config.scale_of(module),
        transposed=config.transposed,
    )


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    # PEFT, get_pattern_key: a pattern matches a whole module path or its end.
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return default


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
