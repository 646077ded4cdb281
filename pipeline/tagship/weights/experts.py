"""LoRA on the experts of a mixture: one adapter tensor for all of them, on one tensor of the base or on one for each.

PEFT adapts a parameter of shape (experts, …) with A and B that hold the factors of all experts (PEFT,
tuners/lora/layer.py, ParamWrapper): A is (experts * rank, in), expert by expert; the columns of B, (out,
rank * experts), go round the experts.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from tagship.system.errors import ReleaseError
from tagship.weights.changes import Apply, Blocks, Read, adding_product
from tagship.weights.safetensors import SIZES, TensorEntry
from tagship.weights.scratch import Array

# What a parameter that transformers 5 has for all experts is in the files, where those have a tensor for
# each expert: its parts, in the order of their rows (transformers, conversion_mapping.py).
_PARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
    "up_proj": (("up_proj",), ("w3",)),
    "gate_proj": (("gate_proj",), ("w1",)),
}


class ExpertsLowRank(Struct, frozen=True, kw_only=True):
    """`W[e] += scale * B[e] @ A[e]` for every expert of a tensor (experts, out, in), or (experts, in, out) where it
    is `transposed`."""

    a: TensorEntry
    b: TensorEntry
    scale: float
    experts: int
    transposed: bool = False
    portable: bool = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        sides = (self.b.shape[0], self.a.shape[1])
        return (self.experts, *(sides[::-1] if self.transposed else sides))

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return (self.a, self.b)

    def factors(self, expert: int, read: Read) -> tuple[Array, Array]:
        """B, scaled, and A of one expert; the tensors that they are in are kept for the next one."""
        a, b = read(self.a, kept=True), read(self.b, kept=True)
        rank = len(a) // self.experts
        return b[:, expert :: self.experts] * b.dtype.type(self.scale), a[expert * rank : (expert + 1) * rank]

    def ready(self, read: Read, before: Blocks) -> Apply:
        factors = [self.factors(expert, read) for expert in range(self.experts)]
        sides = [(a.T, b.T) if self.transposed else (b, a) for b, a in factors]
        height = len(sides[0][0])
        adding = [adding_product(left, right, portable=self.portable) for left, right in sides]

        def apply(rows: Array, start: int, stop: int) -> None:
            for expert in range(start // height, -(-stop // height)):
                first, last = max(start, expert * height), min(stop, (expert + 1) * height)
                of_expert = rows[first - start : last - start]
                adding[expert](of_expert, first - expert * height, last - expert * height)

        return apply


class ExpertLowRank(Struct, frozen=True, kw_only=True):
    """One expert's share of an ExpertsLowRank, on its own tensor (outputs, in): the outputs from `first` on."""

    whole: ExpertsLowRank
    expert: int
    first: int
    outputs: int
    portable: bool = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.outputs, self.whole.a.shape[1])

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        return self.whole.tensors

    def ready(self, read: Read, before: Blocks) -> Apply:
        b, a = self.whole.factors(self.expert, read)
        return adding_product(b[self.first : self.first + self.outputs], a, portable=self.portable)


def tensors_of_experts(parameter: str, entries: Mapping[str, TensorEntry]) -> list[list[str]]:
    """The names of the tensors, for each expert, that a parameter of all experts is in the files; none where they
    have no such tensors."""
    path, _, leaf = parameter.rpartition(".")
    for parts in _PARTS.get(leaf, ()):
        experts: list[list[str]] = []
        while (names := [f"{path}.{len(experts)}.{part}.weight" for part in parts])[0] in entries:
            experts.append(names)
        if experts:
            return experts
    return []


def divided(
    parameter: str, whole: ExpertsLowRank, names: list[list[str]], entries: Mapping[str, TensorEntry]
) -> dict[str, ExpertLowRank]:
    """What a change of all experts does to each of their tensors. Raises ReleaseError when their number, or
    the sum of their outputs, is not the adapter's."""
    if len(names) != whole.experts:
        raise ReleaseError(
            f"{parameter} has {len(names)} experts in the base, and the adapter changes {whole.experts}",
            remedy="name the base that it was trained on with --base",
        )
    return {
        name: ExpertLowRank(whole=whole, expert=expert, first=first, outputs=outputs)
        for name, expert, first, outputs in _places(parameter, whole.b.shape[0], names, entries)
    }


def divided_entry(
    parameter: str, entry: TensorEntry, names: list[list[str]], entries: Mapping[str, TensorEntry]
) -> dict[str, TensorEntry]:
    """The bytes of each expert's tensors in one tensor (experts, out, in). Raises ReleaseError as `divided`."""
    if len(entry.shape) != 3 or len(names) != entry.shape[0]:
        raise ReleaseError(
            f"{parameter} has {len(names)} experts in the base, and the adapter has {list(entry.shape)} in its place",
            remedy="name the base that it was trained on with --base",
        )
    _, out, columns = entry.shape
    row = columns * SIZES[entry.dtype]
    return {
        name: replace(
            entry,
            shape=(outputs, columns),
            start=entry.start + (expert * out + first) * row,
            end=entry.start + (expert * out + first + outputs) * row,
        )
        for name, expert, first, outputs in _places(parameter, out, names, entries)
    }


def _places(
    parameter: str, out: int, names: list[list[str]], entries: Mapping[str, TensorEntry]
) -> Iterator[tuple[str, int, int, int]]:
    """Each tensor with its expert, its first output and the number of its outputs."""
    for expert, parts in enumerate(names):
        first = 0
        for name in parts:
            outputs = entries[name].shape[0] if name in entries else 0
            yield name, expert, first, outputs
            first += outputs
        if first != out:
            raise ReleaseError(
                f"{' and '.join(parts)} have {first} outputs in the base, and the adapter {out} for {parameter}",
                remedy="name the base that it was trained on with --base",
            )
