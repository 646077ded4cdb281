"""A mix of types that is found for a model, and what is recorded of it: what was asked for, the curve of size against
divergence, and each tensor's type."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from tagship.formats.ollama.mixes import MixAim
from tagship.formats.ollama.tensor_costs import TensorCosts
from tagship.formats.shared_parts import FoundTypes
from tagship.gguf.allocation import allocate, largest, predicted, smallest, total
from tagship.gguf.kl_search import Tried
from tagship.gguf.quant_mix import GgufTensor
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.gguf.tensor_choices import TensorChoice
from tagship.gguf.tensor_errors import Coded, bits_of_type, types_for
from tagship.system.errors import ReleaseError

# What a file is said to be in its header: llama.cpp's type that is called for the type most of its weights have.
_FILE_TYPES = {
    "IQ2_XXS": "iq2_xxs",
    "IQ2_S": "iq2_m",
    "Q2_K": "q2_k",
    "IQ3_XXS": "iq3_xxs",
    "Q3_K": "q3_k_m",
    "IQ3_S": "iq3_s",
    "IQ4_XS": "iq4_xs",
    "IQ4_NL": "iq4_nl",
    "Q4_K": "q4_k_m",
    "Q4_1": "q4_0",
    "Q5_K": "q5_k_m",
    "Q5_0": "q5_k_m",
    "Q5_1": "q5_k_m",
    "Q6_K": "q6_k",
    "Q8_0": "q8_0",
}
# A release holds a mix against base + adapter, which is not rounded to 16 bits, and along other batches: what is
# searched for is nearer than what is asked for, by this much.
NEARER = 0.95
# How far from what shapes tell the bits of a mix may be: files have tensors that models do not have, as of rope.
_EDGE = 1.02
# How many sizes the predicted curve has.
_POINTS = 9
_DIGITS = 3


def within_bits(aim: MixAim, costs: TensorCosts) -> dict[str, Coded]:
    """The mix that is predicted to lose least within so many bits. Raises ReleaseError where none has so few, or all
    have fewer."""
    assert aim.bpw is not None
    least, most = (costs.bits(total(each(costs.table))) for each in (smallest, largest))
    if not least <= aim.bpw <= most:
        raise beyond_bits(aim, least, most)
    return allocate(costs.table, costs.budget(aim.bpw), costs.cost())


def check_bits(aim: MixAim, tensors: Sequence[GgufTensor]) -> None:
    """Raise ReleaseError for bits that no mix of a file with these tensors has, nearly: before anything is measured,
    which takes long. What is at the edge `within_bits` tells."""
    if aim.bpw is None or not tensors:
        return
    least, most = (_bits(tensors, way) for way in (min, max))
    if not least / _EDGE <= aim.bpw <= most * _EDGE:
        raise beyond_bits(aim, least, most)


def _bits(tensors: Sequence[GgufTensor], way: Callable[[list[float]], float]) -> float:
    """For each number, where each tensor has the type of fewest or of most bits."""
    sizes = [(prod(tensor.shape), _types_of(tensor)) for tensor in tensors]
    return sum(count * way([bits_of_type(kind) for kind in kinds]) for count, kinds in sizes) / sum(
        count for count, _ in sizes
    )


def _types_of(tensor: GgufTensor) -> tuple[str, ...]:
    fitting = types_for(tensor.shape[-1], weighed=True) if may_be_quantized(tensor.name, tensor.shape) else ()
    return fitting or (tensor.type,)


def beyond_bits(aim: MixAim, least: float, most: float) -> ReleaseError:
    """The refusal of bits that no mix has."""
    return ReleaseError(
        f"[formats.ollama.mixes.{aim.name}] bpw = {aim.bpw:g}: the mixes of this model have from {least:.2f} to "
        f"{most:.2f} bits for each weight",
        remedy=f"say bpw = {_inside(aim.bpw or 0, least, most):.2f}",
    )


def _inside(asked: float, least: float, most: float) -> float:
    return least + 0.005 if asked < least else most - 0.005


def within_limit(aim: MixAim, costs: TensorCosts, tried: list[Tried]) -> Tried:
    """Of what was tried for a limit, what was searched for. Raises ReleaseError where nothing is within it."""
    assert aim.kl is not None
    within = [each for each in tried if each.measured <= aim.kl * NEARER] or [
        each for each in tried if each.measured <= aim.kl
    ]
    if not within:
        best = min(tried, key=lambda each: each.measured)
        raise ReleaseError(
            f"[formats.ollama.mixes.{aim.name}] kl = {aim.kl:g}: no mix of this model is within it; the largest that "
            f"was tried has {costs.bits(best.size):.2f} bits for each weight, and diverges by {best.measured:.3g} nats",
            remedy=f"say kl = {best.measured * 1.1:.2g} or more, or release it in bf16",
        )
    return min(within, key=lambda each: each.size)


def record_of(
    aim: MixAim, costs: TensorCosts, found: Mapping[str, Coded], tried: list[Tried], tokens: int | None
) -> FoundTypes:
    """What release.json says of a mix."""
    size = total(found)
    numbers: Counter[str] = Counter()
    for coded in found.values():
        numbers[coded.type] += coded.size
    measured = next((each.measured for each in tried if each.found == found), None)
    record: dict[str, Any] = {
        "aim": {"bpw": aim.bpw} if aim.bpw is not None else {"kl": aim.kl},
        "file_type": _FILE_TYPES[numbers.most_common(1)[0][0]],
        "bits": round(costs.bits(size), 3),
        "predicted": _rounded(predicted(found, costs.cost())),
        "measured": measured,
        "tokens": tokens,
        "types": dict(sorted(Counter(coded.type for coded in found.values()).items())),
        "parts": {_shown(part.names): {"losses": _rounded(part.losses), "kl": part.kl} for part in costs.parts},
        "curve": list(_curve(costs)),
        "tried": [
            {
                "bits": round(costs.bits(each.size), 3),
                "predicted": _rounded(each.predicted),
                "measured": each.measured,
            }
            for each in tried
        ],
    }
    tensors = {choice.pattern: choice.type.lower() for choice in patterns_of(found)}
    return FoundTypes(tensors=tensors, record=record)


def _curve(costs: TensorCosts) -> Iterator[dict[str, float]]:
    """What is predicted of the mixes that lose least, from the smallest to the largest."""
    low, high, cost = total(smallest(costs.table)), total(largest(costs.table)), costs.cost()
    for number in range(_POINTS):
        found = allocate(costs.table, low + (high - low) * number // (_POINTS - 1), cost)
        yield {"bits": round(costs.bits(total(found)), 3), "predicted": _rounded(predicted(found, cost))}


def _shown(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def patterns_of(found: Mapping[str, Coded]) -> tuple[TensorChoice, ...]:
    """Choices by patterns that come to a mix, as `[formats.ollama.tensors]` has them: one for each kind of tensors and
    type, with the layers that it is of."""
    layers: dict[tuple[str, str], list[str]] = {}
    alone = []
    for name, coded in found.items():
        match = re.match(r"blk\.(\d+)\.", name)
        if match is None:
            alone.append(TensorChoice(f"^{re.escape(name)}$", coded.type))
        else:
            layers.setdefault((name[match.end() :], coded.type), []).append(match[1])
    grouped = (
        TensorChoice(rf"^blk\.{_any_of(numbers)}\.{re.escape(rest)}$", kind) for (rest, kind), numbers in layers.items()
    )
    return (*alone, *grouped)


def _any_of(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"({'|'.join(numbers)})"


def as_toml(found: FoundTypes) -> str:
    """A mix as a table of release.toml, which comes to the same types without a search: of the quantization type that a
    file with these is said to be."""
    kind = found.record["file_type"]
    lines = [
        f'# with "{kind}" among the quants of [formats.ollama], whose file then has these types',
        f"[formats.ollama.tensors.{kind}]",
    ]
    lines += [f"'{pattern}' = \"{kind}\"" for pattern, kind in found.tensors.items()]
    return "\n".join(lines)


def told_of(aim: MixAim, found: FoundTypes) -> tuple[str, ...]:
    """What people are told of a mix that was found: its curve, and the mix."""
    said = found.record
    measured = f", {said['measured']:.3g} measured over {said['tokens']} tokens" if said["measured"] is not None else ""
    types = ", ".join(f"{number} {kind}" for kind, number in said["types"].items())
    curve = ", ".join(f"{each['bits']:.2f}: {each['predicted']:.2g}" for each in said["curve"])
    tried = ", ".join(f"{each['bits']:.2f}: {each['measured']:.3g}" for each in said["tried"])
    return (
        f"{aim.name} ({aim}): {said['bits']:.2f} bits, {said['predicted']:.3g} nats predicted{measured}; {types}",
        f"{aim.name}: bits and nats predicted: {curve}",
        *((f"{aim.name}: bits and nats measured: {tried}",) if tried else ()),
        f"{aim.name}, for release.toml:\n{as_toml(found)}",
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
