"""The weights of a model of which only some files are here: what the others hold, described without their bytes.

An index names every tensor, but tells no shapes. Layers are alike: a tensor has the shape of the same one in another
layer, which the index's own total proves. What is described so is laid out as files that have a header and no bytes
(holes, which take no room on the disk), so that everything that works on headers works on them.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE
from tagship.weights.safetensors import SIZES, read_header
from tagship.weights.text_config import text_config
from tagship.weights.tied_embeddings import is_vocabulary

# Dtype, in safetensors' name, and shape.
Spec = tuple[str, tuple[int, ...]]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
# A hundred times the largest models: more than that is no size.
_MOST_BYTES = 1 << 48
# How shapes were told, from the surest on.
HEADERS, LAYERS, TOTAL = "headers", "layers", "total"


class Described(Struct, frozen=True, kw_only=True):
    """All tensors of a model by name: `specs` of every one, `shards` which file has each. `basis` is how they were
    told: by headers; by the same tensors in other layers and the configuration, with the index's total as proof; or,
    as an estimate, by that total alone. `guessed` are those tensors whose shape is only that."""

    specs: Mapping[str, Spec]
    shards: Mapping[str, str]
    basis: str
    guessed: tuple[str, ...] = ()

    @property
    def numbers(self) -> int:
        """How many numbers the model has."""
        return sum(prod(shape) for _, shape in self.specs.values())

    @property
    def nbytes(self) -> int:
        """The size of all tensors, in bytes."""
        return sum(map(_size, self.specs.values()))

    @property
    def dtypes(self) -> dict[str, int]:
        """How many numbers have each dtype, the most frequent first."""
        counted: Counter[str] = Counter()
        for dtype, shape in self.specs.values():
            counted[dtype] += prod(shape)
        return dict(counted.most_common())


def specs_here(folder: Path, shards: Iterable[str]) -> dict[str, Spec]:
    """The tensors in those shards that are in a folder. Raises ReleaseError for a damaged one."""
    headers = [read_header(folder / name) for name in shards]
    return {name: (entry.dtype, entry.shape) for header in headers for name, entry in header.tensors.items()}


def describe(
    shards: Mapping[str, str],
    total: int | None,
    known: Mapping[str, Spec],
    config: Mapping[str, Any],
    wanted: Mapping[str, tuple[int, ...]],
) -> Described | None:
    """Describe every tensor of an index (`shards`: the file of each) whose total is given in bytes.

    `known` are those whose headers were read, `config` is the model's config.json, `wanted` the shapes that an adapter
    needs. None where nothing tells how large the model is.
    """
    if missing := shards.keys() - known.keys():
        specs = {**known, **_like_other_layers(missing, known), **_by_config(missing, known, config)}
    else:
        return Described(specs={name: known[name] for name in shards}, shards=shards, basis=HEADERS)
    specs = {name: specs[name] for name in shards if name in specs}
    unknown = [name for name in shards if name not in specs]
    if not unknown and total in (None, sum(map(_size, specs.values()))):
        told = Described(specs=specs, shards=shards, basis=LAYERS if total is not None else TOTAL)
        return told if told.nbytes <= _MOST_BYTES else None
    if total is None or not 0 <= total <= _MOST_BYTES:
        return None
    if not unknown:  # layers that differ: only their sum is known
        unknown = sorted(missing)
        specs = {name: known[name] for name in shards if name in known}
    specs |= _filling(unknown, total - sum(map(_size, specs.values())), _main_dtype(known, config), wanted)
    return Described(specs=specs, shards=shards, basis=TOTAL, guessed=tuple(unknown))


def lay_out_skeleton(described: Described, folder: Path, here: Mapping[str, Path]) -> None:
    """Make a folder hold the model's files: links to those that are `here`, by name, and for all other shards files of
    their length with a header and no bytes; and the index."""
    for name, path in here.items():
        (folder / name).symlink_to(path.resolve())
    tensors: dict[str, dict[str, Spec]] = defaultdict(dict)
    for name, spec in described.specs.items():
        tensors[described.shards[name]][name] = spec
    for shard, held in tensors.items():
        if shard not in here:
            _write_hollow(folder / shard, held)
    if INDEX_FILE not in here and set(tensors) != {SINGLE_FILE}:
        index = {"metadata": {"total_size": described.nbytes}, "weight_map": dict(described.shards)}
        (folder / INDEX_FILE).write_text(json.dumps(index), encoding="utf-8")


def _write_hollow(path: Path, tensors: Mapping[str, Spec]) -> None:
    document: dict[str, Any] = {}
    at = 0
    for name, spec in tensors.items():
        dtype, shape = spec
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at := at + _size(spec)]}
    text = json.dumps(document).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def _like_other_layers(missing: Iterable[str], known: Mapping[str, Spec]) -> dict[str, Spec]:
    seen: dict[str, Counter[Spec]] = defaultdict(Counter)
    for name, spec in known.items():
        seen[_NUMBER.sub("#", name)][spec] += 1
    kinds = {kind: counted.most_common(1)[0][0] for kind, counted in seen.items() if "#" in kind}
    return {name: kinds[kind] for name in missing if (kind := _NUMBER.sub("#", name)) in kinds}


def _by_config(missing: Iterable[str], known: Mapping[str, Spec], config: Mapping[str, Any]) -> dict[str, Spec]:
    """Embedding, head and norms outside of the layers, and the projections that most models have, by the numbers in
    config.json."""
    text = text_config(config)
    sizes = {key: text.get(key) for key in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")}
    if not all(type(value) is int and value > 0 for value in sizes.values()):
        return {}
    vocabulary, hidden, between, heads = (int(str(value)) for value in sizes.values())
    head, groups = text.get("head_dim") or hidden // heads, text.get("num_key_value_heads") or heads
    if type(head) is not int or type(groups) is not int:  # several, by layer
        return {}
    queries, keys = heads * head, groups * head
    shapes: dict[str, tuple[int, ...]] = {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "qkv_proj": (queries + 2 * keys, hidden),
        "gate_proj": (between, hidden),
        "up_proj": (between, hidden),
        "gate_up_proj": (2 * between, hidden),
        "down_proj": (hidden, between),
        "q_norm": (head,),
        "k_norm": (head,),
    }
    dtype = _main_dtype(known, config)
    kinds = {_NUMBER.sub("#", name) for name in known}
    found: dict[str, Spec] = {}
    for name in missing:
        module, _, part = name.rpartition(".")
        leaf = module.rpartition(".")[2]
        if part not in ("weight", "bias") or _NUMBER.sub("#", name) in kinds:
            continue
        if is_vocabulary(name):
            shape: tuple[int, ...] | None = (vocabulary, hidden)
        else:
            shape = shapes.get(leaf) or ((hidden,) if "norm" in leaf else None)
        if shape:
            found[name] = (dtype, shape if part == "weight" else shape[:1])
    return found


def _filling(unknown: list[str], size: int, dtype: str, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Spec]:
    """Tensors that fill a number of bytes: of the shapes that an adapter needs, the others alike."""
    filled = {name: (dtype, wanted[name]) for name in unknown if name in wanted}
    others = [name for name in unknown if name not in wanted]
    left = max(0, size - sum(map(_size, filled.values()))) // SIZES[dtype]
    return filled | {name: (dtype, (left // len(others),)) for name in others}


def _main_dtype(known: Mapping[str, Spec], config: Mapping[str, Any]) -> str:
    if known:
        return next(iter(Described(specs=known, shards={}, basis=HEADERS).dtypes))
    return _DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")), "BF16")


def _size(spec: Spec) -> int:
    dtype, shape = spec
    return prod(shape) * SIZES[dtype]
