"""What an adapter holds, told from its configuration and its weights' header, whether it can be merged or not."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tagship.system.json_files import read_object
from tagship.weights.adapter_config import CONFIG_FILE, AdapterConfig
from tagship.weights.base_names import layer_of
from tagship.weights.lora import parameter_of
from tagship.weights.safetensors import SIZES, Header, TensorEntry

_LOW_RANK = re.compile(r"\.lora_(?:embedding_)?[AB](?:\.weight)?$")
# PEFT begins with this side all zero, so that an adapter which was never trained does nothing.
_BEGINS_AS_ZERO = re.compile(r"\.(?:lora_B\.weight|lora_embedding_A)$")
_TOKENS = "trainable_tokens_delta"
DORA = "DoRA"
# Enough to see one number that is not zero; only an adapter that did not learn is read further.
_FIRST_BYTES, _MORE_BYTES = 1 << 12, 1 << 20
_MOST_BYTES = 32 << 20


class ModuleGroup(Struct, frozen=True, kw_only=True):
    """Modules by the last part of their names that are adapted in the same layers; none of both for those that are in
    no layer."""

    names: tuple[str, ...]
    layers: tuple[int, ...]


class AdapterFacts(Struct, frozen=True, kw_only=True):
    """What an adapter holds. `numbers` are those that were trained, `size` is its file's in bytes, `dtypes` say how
    many numbers have each. `ranks` and `scales` are the lowest and the highest. `saved` are whole parameters,
    `token_rows` the number of trained rows, `biases` and `lora_biases` how many there are. `pairs` is how many
    changes of low rank there are, one for a module or for each adapted parameter of it; `silent` are the modules of
    those that are zero, `unread` is how many were too large to be told."""

    peft_type: str
    variants: tuple[str, ...]
    numbers: int
    size: int
    dtypes: Mapping[str, int]
    ranks: tuple[int, int]
    scales: tuple[float, float]
    groups: tuple[ModuleGroup, ...]
    pairs: int
    saved: tuple[str, ...]
    token_rows: int
    biases: int
    lora_biases: int
    target_parameters: tuple[str, ...]
    silent: tuple[str, ...]
    unread: int

    @property
    def trained_nothing(self) -> str | None:
        """Why a model with the adapter is the base itself; None where it is another one, as far as was read. With
        DoRA's magnitudes it may be another one without any low-rank change."""
        whole = self.saved or self.token_rows or self.biases or self.lora_biases
        if not self.pairs or whole or DORA in self.variants:
            return None
        if self.scales == (0.0, 0.0):
            return "its scale is 0"
        return "every lora_B is all zero" if len(self.silent) == self.pairs else None

    @property
    def does_nothing(self) -> bool:
        """Whether a model with the adapter is the base itself."""
        return self.trained_nothing is not None


def adapter_facts(folder: Path, config: AdapterConfig, weights: Header) -> AdapterFacts:
    """Look at an adapter; of its weights' bytes no more than some MB are read. Its patterns must have been checked
    (`AdapterConfig.check_patterns`)."""
    document = read_object(folder / CONFIG_FILE)
    entries = weights.tensors
    adapted = _adapted(entries)
    whole = [parameter_of(name) for name in entries if "lora_" not in name and _TOKENS not in name]
    ranks = {config.rank_of(module) for module in adapted}
    silent, unread = _silent(weights)
    dtypes: Counter[str] = Counter()
    for entry in entries.values():
        dtypes[entry.dtype] += entry.elements
    return AdapterFacts(
        peft_type=str(document.get("peft_type", "LORA")),
        variants=tuple(_variants(config)),
        numbers=sum(dtypes.values()),
        size=weights.size,
        dtypes=dict(dtypes.most_common()),
        ranks=(min(ranks, default=config.rank), max(ranks, default=config.rank)),
        scales=_range([config.scale_of(module) for module in adapted] if config.rank else ()),
        groups=_groups(adapted),
        pairs=sum(bool(_BEGINS_AS_ZERO.search(name)) for name in entries),
        saved=tuple(name for name in dict.fromkeys(whole) if not name.endswith(".bias")),
        token_rows=max((entry.shape[0] for name, entry in entries.items() if _TOKENS in name), default=0),
        biases=sum(name.endswith(".bias") for name in whole),
        lora_biases=sum(name.endswith(".lora_B.bias") for name in entries),
        target_parameters=config.target_parameters,
        silent=silent,
        unread=unread,
    )


def _adapted(entries: Mapping[str, TensorEntry]) -> list[str]:
    """The modules with a low-rank change."""
    held = {_LOW_RANK.sub("", name) for name in entries if _LOW_RANK.search(name)}
    return sorted({parameter_of(name) for name in held})


def _variants(config: AdapterConfig) -> Iterable[str]:
    if config.dora:
        yield DORA
    if config.rank_stabilised:
        yield "rsLoRA"
    if config.rank_pattern:
        yield "rank_pattern"
    if config.alpha_pattern:
        yield "alpha_pattern"


def _range(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 0.0)


def _groups(modules: Iterable[str]) -> tuple[ModuleGroup, ...]:
    layers: dict[str, set[int]] = {}
    for module in modules:
        held = layers.setdefault(module.rpartition(".")[2], set())
        if (layer := layer_of(module)) is not None:
            held.add(layer)
    names: dict[tuple[int, ...], list[str]] = {}
    for name, held in layers.items():
        names.setdefault(tuple(sorted(held)), []).append(name)
    return tuple(ModuleGroup(names=tuple(sorted(found)), layers=held) for held, found in sorted(names.items()))


def _silent(weights: Header) -> tuple[tuple[str, ...], int]:
    """The modules whose change is nothing but zeros, and how many were too large to be told."""
    left = _MOST_BYTES
    silent, unread = [], 0
    with weights.path.open("rb") as file:
        for name, entry in weights.tensors.items():
            if not _BEGINS_AS_ZERO.search(name):
                continue
            at = entry.start
            while at < entry.end and left > 0:
                size = min(_FIRST_BYTES if at == entry.start else _MORE_BYTES, entry.end - at)
                file.seek(at)
                if not _is_zero(file.read(size), entry.dtype):
                    break
                at += size
                left -= size
            if at == entry.end:
                silent.append(parameter_of(_LOW_RANK.sub("", name)))
            elif left <= 0:
                unread += 1
    return tuple(silent), unread


def _is_zero(data: bytes, dtype: str) -> bool:
    """Whether all numbers are zero, of either sign."""
    width = SIZES[dtype]
    if dtype not in ("F64", "F32", "F16", "BF16"):
        return not data.strip(b"\0")
    # The sign is the highest bit of the last byte: the format is little-endian.
    signs = data[width - 1 :: width].translate(None, delete=b"\x00\x80")
    others = b"".join(data[byte::width] for byte in range(width - 1))
    return not signs and not others.strip(b"\0")
