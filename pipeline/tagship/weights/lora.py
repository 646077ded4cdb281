"""A LoRA adapter as PEFT saves it: what it changes, by the names of the trained model's parameters.

Every tensor of the adapter is consumed exactly once, or the export fails: nothing is dropped.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.system.errors import ReleaseError
from tagship.system.files import BLOCK
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig, read_adapter_config
from tagship.weights.adapter_keys import check_keys
from tagship.weights.changes import Added, Change, LowRank, Magnitude, TokenRows
from tagship.weights.experts import ExpertsLowRank
from tagship.weights.safetensors import FLOATS, Header, TensorEntry, pickled, read_header

_PREFIX = "base_model.model."
# The parts that PEFT gives to a module, behind its name. A DoRA magnitude had `.weight` for a while.
_PARTS = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector|(?<=token_adapter\.)trainable_tokens_delta)(?:(?<=vector)\.weight)?"
)
# What PEFT puts between a module and its parameters, or its own parts.
_WRAPPERS = re.compile(r"\.(?:base_layer|modules_to_save|original_module|token_adapter)(?=\.|$)")
_FROZEN = ".original_module."


class Adapter(Struct, frozen=True, kw_only=True):
    """An adapter on disk: its weights' header, and what it does by the trained model's parameters.

    `replaced` are whole new tensors (saved modules, trained biases); `changes` come after, in order.
    """

    folder: Path
    config: AdapterConfig
    weights: Header
    replaced: Mapping[str, TensorEntry]
    changes: Mapping[str, tuple[Change, ...]]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters that the adapter brings or changes."""
        return tuple(dict.fromkeys((*self.replaced, *self.changes)))


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter. Raises ReleaseError for what is damaged or cannot be merged, by name."""
    config = read_adapter_config(folder)
    if config.unsupported:
        raise ReleaseError(
            f"the adapter in {folder} cannot be merged: {'; '.join(config.unsupported)}",
            remedy="train it as plain LoRA, or release the lora format alone with --format lora",
        )
    weights = read_weights(folder)
    config.check_patterns(modules_of(weights))
    modules, whole, left_over = _sorted_out(weights, config)
    replaced = {}
    for parameter, entries in whole.items():
        replaced[parameter], unequal = _one_of(weights, entries)
        left_over += unequal
    changes: dict[str, tuple[Change, ...]] = {}
    for (module, parameter), parts in modules.items():
        changes |= _module_changes(config, module, parameter, parts)
        left_over += [entry.name for entry in parts.values()]  # what no rule took
    if left_over or not (changes or replaced):
        raise ReleaseError(
            f"{weights.path} has tensors that no rule of merging consumes: {_listed(left_over) or 'it has none'}",
            remedy="save it with PEFT's own save_pretrained(…); if it was, release the lora format alone",
        )
    return Adapter(folder=folder, config=config, weights=weights, replaced=replaced, changes=changes)


def without_changes(adapter: Adapter) -> Adapter:
    """One that changes nothing: base + that is the base."""
    return replace(adapter, weights=replace(adapter.weights, tensors={}), replaced={}, changes={})


def read_weights(folder: Path) -> Header:
    """The header of an adapter's weights. Raises ReleaseError when they are missing, damaged, or pickled, or when PEFT
    would pass over them."""
    if not (folder / WEIGHTS_FILE).exists():
        raise pickled(folder) or ReleaseError(
            f"{folder / WEIGHTS_FILE} does not exist",
            remedy="copy the adapter there, or save it again with PEFT's save_pretrained(…); --run names another run",
        )
    weights = read_header(folder / WEIGHTS_FILE)
    check_keys(weights)
    return weights


def modules_of(weights: Header) -> tuple[str, ...]:
    """The modules of the trained model that an adapter's weights are of."""
    names = (name.removeprefix(_PREFIX) for name in weights.tensors)
    modules = (found["module"] if (found := _PARTS.fullmatch(name)) else name.rpartition(".")[0] for name in names)
    return tuple(dict.fromkeys(parameter_of(module) for module in modules))


def _sorted_out(
    weights: Header, config: AdapterConfig
) -> tuple[dict[tuple[str, str], dict[str, TensorEntry]], dict[str, list[TensorEntry]], list[str]]:
    """The parts of each module's parameter by their names, the whole tensors of each parameter, and the names of
    the rest."""
    modules: dict[tuple[str, str], dict[str, TensorEntry]] = {}
    whole: dict[str, list[TensorEntry]] = {}
    left_over = []
    for name, entry in weights.tensors.items():
        plain = name.removeprefix(_PREFIX)
        if plain == name or entry.dtype not in FLOATS:
            left_over.append(name)
        elif found := _PARTS.fullmatch(plain):
            adapted = _adapted(found["module"], config)
            taken = modules.setdefault(adapted, {}).setdefault(found["part"], entry)
            left_over += [name] if taken is not entry else []
        elif "lora_" in plain or "trainable_tokens" in plain:
            left_over.append(name)
        else:
            whole.setdefault(parameter_of(name), []).append(entry)
    return modules, whole, left_over


def _one_of(weights: Header, entries: list[TensorEntry]) -> tuple[TensorEntry, list[str]]:
    """The trained tensor among those of one parameter, and the names of those that say another thing.

    PEFT's save_embedding_layers saves a trained module again, and what it was before training.
    """
    trained = [entry for entry in entries if _FROZEN not in entry.name]
    if not trained:
        return entries[0], [entry.name for entry in entries]
    first, *others = sorted(trained, key=lambda entry: len(entry.name))
    return first, [entry.name for entry in others if not same_bytes(weights.path, first, weights.path, entry)]


def same_bytes(path: Path, entry: TensorEntry, other_path: Path, other: TensorEntry) -> bool:
    """Whether two tensors are the same: dtype, shape and bytes."""
    if (entry.dtype, entry.shape) != (other.dtype, other.shape):
        return False
    with path.open("rb") as left, other_path.open("rb") as right:
        left.seek(entry.start)
        right.seek(other.start)
        return all(
            left.read(size) == right.read(size)
            for size in (min(BLOCK, entry.nbytes - at) for at in range(0, entry.nbytes, BLOCK))
        )


def parameter_of(name: str) -> str:
    """The parameter of the trained model that a tensor of an adapter is of, or a part of."""
    return _WRAPPERS.sub("", name.removeprefix(_PREFIX))


def _adapted(wrapped: str, config: AdapterConfig) -> tuple[str, str]:
    """The module that parts belong to, and which of its parameters. Parameters that were adapted each by itself are
    wrapped one around the other."""
    module = parameter_of(wrapped)
    parameters = config.parameters_of(module)
    depth = (wrapped + ".").count(".base_layer.")
    return module, parameters[-1 - depth] if depth < len(parameters) else "weight"


def _module_changes(
    config: AdapterConfig, module: str, parameter: str, parts: dict[str, TensorEntry]
) -> dict[str, tuple[Change, ...]]:
    """What a module's parts do to its parameters; the parts that were used are taken out."""
    if parameter != "weight" or _of_experts(config, module, parts):
        return _parameter_changes(config, f"{module}.{parameter}", parts)
    made: list[Change] = []
    changed: dict[str, tuple[Change, ...]] = {}
    if rows := _matrices(parts, "trainable_tokens_delta"):  # they lie below a LoRA of the same module
        made.append(_token_rows(config, module, *rows))
    if sides := _matrices(parts, "lora_embedding_A", "lora_embedding_B"):
        made.append(_low_rank(config, module, *sides, embedding=True))
    elif sides := _matrices(parts, "lora_A.weight", "lora_B.weight"):
        made.append(_low_rank(config, module, *sides))
        if bias := parts.pop("lora_B.bias", None):
            changed[f"{module}.bias"] = (Added(values=bias, scale=config.scale_of(module)),)
    if made and isinstance(made[-1], LowRank) and config.dora:
        if not (magnitude := parts.pop("lora_magnitude_vector", None)):
            raise ReleaseError(
                f"{module} has no lora_magnitude_vector, and {CONFIG_FILE} says that the adapter is DoRA",
                remedy="the adapter's configuration and weights are of different runs: save it again",
            )
        made.append(Magnitude(magnitude=magnitude, transposed=made[-1].transposed))
    return changed | ({f"{module}.weight": tuple(made)} if made else {})


def _of_experts(config: AdapterConfig, module: str, parts: dict[str, TensorEntry]) -> bool:
    """Whether a module's weight is one of several experts, and was adapted as a parameter."""
    a = parts.get("lora_A.weight")
    if a is None or len(a.shape) != 2 or "weight" not in config.parameters_of(module):
        return False
    return a.shape[0] > config.rank_of(f"{module}.weight")


def _parameter_changes(
    config: AdapterConfig, parameter: str, parts: dict[str, TensorEntry]
) -> dict[str, tuple[Change, ...]]:
    """What the parts of a parameter that was adapted by itself do to it, as far as they were made for one."""
    rank = config.rank_of(parameter)
    if not (sides := _matrices(parts, "lora_A.weight", "lora_B.weight")):
        return {}
    a, b = sides
    if a.shape[0] != b.shape[1] or not a.shape[0] or a.shape[0] % rank:
        raise _wrong_rank(parameter, rank, a, b)
    scale, experts = config.scale_of(parameter), a.shape[0] // rank
    if experts == 1:
        return {parameter: (LowRank(a=a, b=b, scale=scale, transposed=False),)}
    return {parameter: (ExpertsLowRank(a=a, b=b, scale=scale, experts=experts),)}


def _matrices(parts: dict[str, TensorEntry], *names: str) -> list[TensorEntry]:
    """Take parts out, all of them or none: each must be there and have two dimensions."""
    if all(name in parts and len(parts[name].shape) == 2 for name in names):
        return [parts.pop(name) for name in names]
    return []


def _token_rows(config: AdapterConfig, module: str, rows: TensorEntry) -> TokenRows:
    indices = _indices(config, module)
    if len(indices) != rows.shape[0]:
        raise ReleaseError(
            f"{rows.name} has {rows.shape[0]} rows, and {CONFIG_FILE} names {len(indices)} tokens for it",
            remedy="the adapter's configuration and weights are of different runs: save it again",
        )
    return TokenRows(rows=rows, indices=indices)


def _low_rank(
    config: AdapterConfig, module: str, a: TensorEntry, b: TensorEntry, *, embedding: bool = False
) -> LowRank:
    rank = config.rank_of(module)
    if (a.shape[0], b.shape[-1]) != (rank, rank):
        raise _wrong_rank(module, rank, a, b)
    return LowRank(
        a=a, b=b, scale=config.scale_of(module), transposed=embedding or config.transposed, embedding=embedding
    )


def _wrong_rank(module: str, rank: int, a: TensorEntry, b: TensorEntry) -> ReleaseError:
    return ReleaseError(
        f"{module} has the rank {rank} by {CONFIG_FILE}, "
        f"but {a.shape[0]} in its lora_A and {b.shape[-1]} in its lora_B",
        remedy="the adapter's configuration and weights are of different runs: save it again",
    )


def _indices(config: AdapterConfig, module: str) -> tuple[int, ...]:
    for name, indices in config.token_indices.items():
        if name in ("", module) or module.endswith(f".{name}"):
            return indices
    # A head that is tied to the embedding has the same tokens, and may be saved beside it.
    named = set(config.token_indices.values())
    return named.pop() if len(named) == 1 else ()


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more
