"""Base + adapter as a plan of output tensors: what each is made of, decided from headers alone.

Names are those of the base's files, so that the merged model has the base's layout. What the
adapter changes is found under the trained model's names, which may differ (`base_names.py`).
"""

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.system.errors import ReleaseError
from tagship.weights.base_names import by_base_names
from tagship.weights.changes import Change, LowRank, Magnitude
from tagship.weights.checkpoint import Checkpoint
from tagship.weights.compatibility import check_fit
from tagship.weights.experts import ExpertLowRank, ExpertsLowRank
from tagship.weights.lora import Adapter
from tagship.weights.nf4 import ToNf4
from tagship.weights.nf4_form import Nf4
from tagship.weights.nf4_tensors import to_nf4
from tagship.weights.orientation import CONV1D_MODELS, oriented
from tagship.weights.safetensors import FLOATS, Header, TensorEntry
from tagship.weights.scheme_tensors import Packing, ignored_modules, packings
from tagship.weights.schemes import Part, Scheme
from tagship.weights.tied_embeddings import embedding_of, settle

_TORCH_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


class Stored(Struct, frozen=True, kw_only=True):
    """A tensor in a file."""

    file: Header
    entry: TensorEntry


class Target(Struct, frozen=True, kw_only=True):
    """What a tensor becomes in a file: a tensor of this name, or of that the one at `index` of `stacked`."""

    name: str
    index: int = 0
    stacked: int | None = None


class Output(Struct, frozen=True, kw_only=True):
    """A tensor of the merged model: what its rows are read from, and what is done to them.

    `replaced` is whether it is read from the adapter; `shard` is the number of the base's file that
    it belongs to. With a `packing` its rows, which are in `dtype` when they are merged, are quantized. `target` is what
    it becomes, where that has not its own name.
    """

    name: str
    dtype: str
    source: Stored
    replaced: bool
    changes: tuple[Change, ...]
    shard: int
    packing: Packing | None = None
    target: Target | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.entry.shape

    @property
    def parts(self) -> tuple[Part, ...]:
        """The tensors that are written of it."""
        if self.packing:
            parts = self.packing.scheme.parts(self.written_as, self.shape, self.dtype)
        else:
            parts = (Part(name=self.written_as, dtype=self.dtype, shape=self.shape),)
        target = self.target
        if target is None or target.stacked is None:
            return parts
        return tuple(replace(part, index=target.index, stacked=target.stacked) for part in parts)

    @property
    def written_as(self) -> str:
        """The name of the tensor in a file that it becomes, or a part of."""
        return self.target.name if self.target else self.name

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    @property
    def copied(self) -> bool:
        """Whether its bytes are those that the base has, which no one looks at."""
        return not self.packing and self.unchanged

    @property
    def unchanged(self) -> bool:
        """Whether its numbers are those that the base has."""
        return not (self.changes or self.replaced) and self.dtype == self.source.entry.dtype


class MergedWeights:
    """The tensors of base + adapter, by name and in the order of the base's files.

    `dtype` is what all floats are converted to, in safetensors' name; None to keep the base's. With `nf4` the adapter
    is merged into what the base is after it was held so; with a `scheme` the merged weights are quantized. `portable`
    is whether the bytes are the same on every processor. Raises ReleaseError, tensor by tensor, when the adapter was
    not made for the base, or the scheme does not fit it.
    """

    def __init__(
        self,
        base: Checkpoint,
        adapter: Adapter,
        dtype: str | None = None,
        nf4: Nf4 | None = None,
        scheme: Scheme | None = None,
        *,
        portable: bool = False,
    ) -> None:
        self.base = base
        self.adapter = adapter
        self._dtype = dtype
        self._portable = portable
        config = _config(base.folder)
        if config.get("is_encoder_decoder"):
            raise ReleaseError(
                f"the base model in {base.folder} is an encoder-decoder: one embedding of its serves both sides",
                remedy="release the lora format alone with --format lora",
            )
        trained = by_base_names(adapter, base.entries())
        self.untied = settle(adapter.weights, base, config, adapter.config.keeps_tied, trained)
        entries = base.entries()
        if self.untied:
            head, embedding = self.untied
            entries.setdefault(head, entries[embedding])
        changes = oriented(trained.changes, entries, str(config.get("model_type")))
        check_fit(adapter, base, replace(trained, changes=changes), entries)
        if portable:
            changes = {name: tuple(map(_as_portable, made)) for name, made in changes.items()}
        if nf4:
            changes = _after(to_nf4(base.entries(), nf4, whole=trained.replaced), changes)
        outputs = {output.name: output for output in self._outputs(trained.replaced, changes)}
        self._quantized: dict[str, Any] | None = None
        if scheme:
            outputs, self._quantized = _packed(outputs, scheme, config)
        self.outputs: Mapping[str, Output] = outputs
        self.library = "pt"
        self.changed = frozenset(trained.replaced) | frozenset(trained.changes)

    def arranged(self, outputs: Mapping[str, Output], library: str) -> "MergedWeights":
        """The same model, of which these tensors are written, and so: by their targets and packings. `library` is what
        files say that they are for."""
        made = copy(self)
        made.outputs, made.library = outputs, library
        return made

    def config_changes(self) -> dict[str, Any]:
        """What config.json has to say of the merged model that the base's does not."""
        changed: dict[str, Any] = {}
        if self.untied:
            changed["tie_word_embeddings"] = False
        embedding = embedding_of(self.outputs)
        before = self.base.entries().get(embedding or "")
        if embedding and before and self.outputs[embedding].shape[0] != before.shape[0]:
            changed["vocab_size"] = self.outputs[embedding].shape[0]
        if self._dtype:
            changed["dtype"] = _TORCH_DTYPES[self._dtype]
        if self._quantized:
            changed["quantization_config"] = self._quantized
        return changed

    @property
    def nbytes(self) -> int:
        """The size of all tensors, in bytes."""
        return sum(output.nbytes for output in self.outputs.values())

    @property
    def elements(self) -> int:
        """How many numbers all tensors have."""
        return sum(output.source.entry.elements for output in self.outputs.values())

    @property
    def prepared(self) -> int:
        """The most memory that the adapter takes in float32 while tensors of two files are merged and the next ones are
        prepared, in bytes."""
        sizes = (sum(entry.elements for change in o.changes for entry in change.tensors) for o in self.outputs.values())
        # An exact product has its factors in float64, too.
        return 4 * 4 * max(sizes, default=0) * (3 if self._portable else 1)

    def _outputs(self, replaced: Mapping[str, TensorEntry], changes: Mapping[str, tuple[Change, ...]]) -> list[Output]:
        outputs = []
        last = len(self.base.shards) - 1
        held = [
            (Stored(file=shard, entry=entry), number)
            for number, shard in enumerate(self.base.shards)
            for entry in shard.tensors.values()
        ]
        known = {stored.entry.name for stored, _ in held}
        if self.untied and self.untied[0] not in known:
            head, embedding = self.untied
            owner = self.base.owner(embedding)
            assert owner is not None
            held.append((Stored(file=owner, entry=replace(owner.tensors[embedding], name=head)), last))
            known.add(head)
        held += [
            (Stored(file=self.adapter.weights, entry=replace(entry, name=name)), last)
            for name, entry in replaced.items()
            if name not in known
        ]
        for stored, shard in held:
            name = stored.entry.name
            base_dtype = stored.entry.dtype if name in known else self.base.main_dtype
            if name in replaced:
                stored = Stored(file=self.adapter.weights, entry=replaced[name])
            dtype = self._dtype if self._dtype and base_dtype in FLOATS else base_dtype
            outputs.append(
                Output(
                    name=name,
                    dtype=dtype,
                    source=stored,
                    replaced=name in replaced,
                    changes=changes.get(name, ()),
                    shard=shard,
                )
            )
        return outputs

    @property
    def main_dtype(self) -> str:
        """The dtype that most of the merged model is in, in safetensors' name."""
        return self._dtype or self.base.main_dtype


def _packed(
    outputs: Mapping[str, Output], scheme: Scheme, config: Mapping[str, Any]
) -> tuple[dict[str, Output], dict[str, Any]]:
    """The tensors as a scheme has them, and what config.json says of that."""
    entries = {name: replace(output.source.entry, name=name, dtype=output.dtype) for name, output in outputs.items()}
    chosen = packings(entries, scheme, config, transposed=str(config.get("model_type")) in CONV1D_MODELS)
    packed = {name: replace(output, packing=chosen.get(name)) for name, output in outputs.items()}
    return packed, scheme.quantization_config(ignored_modules(entries, chosen))


def _after(first: Mapping[str, ToNf4], changes: Mapping[str, tuple[Change, ...]]) -> dict[str, tuple[Change, ...]]:
    """The changes of an adapter after those of a base in 4 bits."""
    before: dict[str, tuple[Change, ...]] = {name: (change,) for name, change in first.items()}
    return before | {name: (*before.get(name, ()), *made) for name, made in changes.items()}


def _as_portable(change: Change) -> Change:
    if isinstance(change, LowRank | Magnitude | ExpertsLowRank | ExpertLowRank):
        return replace(change, portable=True)
    return change


def _config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # told where the base is checked to be whole
        return {}
