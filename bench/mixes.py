"""What llama.cpp's mixes of types leave lying: at the same size, mixes that are chosen by each tensor's own error.

Run as `python -m bench.mixes [--tokens N] [--quants q4_k_m,q3_k_m] BASE ADAPTER`: two folders, of which an importance
matrix is made along the text that ships for that. Each matrix is encoded in every type by it, and its error is the sum
of a_j (w_ij - q_ij)^2, where a_j is the mean square of what column j is multiplied with: by itself, or as a share of
the same sum of w_ij^2. Of all choices those are made whose errors sum up to the least in the bytes of llama.cpp's mix
(Lagrange's multiplier, and what is left is spent where it gains most); each file is then measured along the other text
that ships. Mixes are made by `[formats.ollama.tensors]`'s own choices. docs/quality.md has a table.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tagship.gguf import ggml
from tagship.gguf.header import read_gguf_header
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.quant_mix import Mix, needs_importance
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.gguf.tensor_choices import TensorChoice
from tagship.verify.runtimes.processes import Runtimes

from bench.quality import Trained, importance, measured, open_trained, release

_TYPES = ("Q2_K", "IQ3_XXS", "Q3_K", "IQ3_S", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
_QUANTS = "q3_k_m,iq4_xs,q4_k_s,q4_k_m,q5_k_m"
_STEPS = 200
_HEAD = "| | bits | mean KL | same likeliest | types |\n|---|---:|---:|---:|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A tensor in a type: its bytes, its error, and that as a share of what it would be without the tensor."""

    kind: str
    size: int
    error: float
    share: float


Cost = Callable[[_Choice], float]
_COSTS: Mapping[str, Cost] = {"by errors": lambda each: each.error, "by shares": lambda each: each.share}


def main(base: Path, adapter: Path, quants: Sequence[str], tokens: int) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name, Runtimes() as runtimes:
        folder = Path(name)
        shutil.copytree(base, folder / "base")
        shutil.copytree(adapter, folder / "adapter")
        trained = open_trained(folder, runtimes, tokens)
        imatrix = importance(trained)
        table = _table(trained, imatrix)
        print(f"{sum(len(part.looked_at) for part in trained.text)} tokens\n\n{_HEAD}", flush=True)
        for quant in quants:
            size = _print(quant, Mix(quant=quant), trained, imatrix, table)
            for title, cost in _COSTS.items():
                found = allocate(table, size, cost)
                _print(f"{quant} {title}", _mix(quant, found), trained, imatrix, table)


def allocate(table: Mapping[str, Sequence[_Choice]], budget: int, cost: Cost) -> dict[str, _Choice]:
    """One choice for each tensor, whose bytes are within `budget` and whose costs sum up to about the least."""

    def by(price: float) -> dict[str, _Choice]:
        return {name: min(rows, key=lambda each: cost(each) + price * each.size) for name, rows in table.items()}

    low, high = 1e-30, 1e30
    for _ in range(_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if _bytes(by(middle)) <= budget else (middle, high)
    found = by(high)
    while better := _best(table, found, budget - _bytes(found), cost):
        name, choice = better
        found[name] = choice
    return found


def _best(
    table: Mapping[str, Sequence[_Choice]], found: Mapping[str, _Choice], left: int, cost: Cost
) -> tuple[str, _Choice] | None:
    """What gains most for each of the bytes that are left."""
    gains = [
        ((cost(found[name]) - cost(each)) / (each.size - found[name].size), name, each)
        for name, rows in table.items()
        for each in rows
        if 0 < each.size - found[name].size <= left and cost(each) < cost(found[name])
    ]
    return max(gains, key=lambda gain: gain[:2])[1:] if gains else None


def _bytes(choices: Mapping[str, _Choice]) -> int:
    return sum(each.size for each in choices.values())


def _table(trained: Trained, imatrix: Imatrix) -> dict[str, list[_Choice]]:
    """Each matrix in all types that its rows can have."""
    from gguf import GGUFReader, quants

    folder = trained.folder
    path = release(folder, folder / "base", folder / "adapter", ["f16"])["f16"]
    found = {}
    for tensor in GGUFReader(path).tensors:
        weights = np.asarray(quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        if may_be_quantized(tensor.name, weights.shape) and weights.ndim == 2:
            of_columns = imatrix.of(tensor.name, weights.shape)
            found[tensor.name] = _choices(tensor.name, weights, None if of_columns is None else of_columns[0])
    path.unlink()
    return found


def _choices(name: str, weights: np.ndarray, columns: np.ndarray | None) -> list[_Choice]:
    from gguf import GGMLQuantizationType, quants

    weighs = np.float32(1) if columns is None else columns
    whole = float((weights**2 * weighs).sum())
    found = []
    for kind in _TYPES:
        number = GGMLQuantizationType[kind]
        if (weights.shape[1] % 256 and kind != "Q8_0") or (columns is None and needs_importance(name, kind)):
            continue
        encoded = ggml.encode(weights, number.value, columns)
        lost = weights - quants.dequantize(encoded.reshape(len(weights), -1), number)
        error = float((lost**2 * weighs).sum())
        found.append(_Choice(kind=kind, size=encoded.nbytes, error=error, share=error / whole))
    return found


def _mix(quant: str, found: Mapping[str, _Choice]) -> Mix:
    choices = (TensorChoice(f"^{re.escape(name)}$", each.kind) for name, each in found.items())
    return Mix(quant=quant, choices=tuple(choices))


def _print(title: str, mix: Mix, trained: Trained, imatrix: Imatrix, table: Mapping[str, object]) -> int:
    """A row of a file; returns the bytes of its matrices."""
    folder = trained.folder
    path = release(folder, folder / "base", folder / "adapter", [mix.quant], imatrix, {mix.quant: mix})[mix.quant]
    held = [tensor for tensor in read_gguf_header(path).tensors if tensor.name in table]
    size, numbers = sum(tensor.nbytes for tensor in held), sum(tensor.elements for tensor in held)
    kinds = sorted({tensor.type_name for tensor in held})
    counted = ", ".join(f"{sum(tensor.type_name == kind for tensor in held)} {kind}" for kind in kinds)
    found, _ = measured(title, path, trained, "llama_cpp")
    print(f"| {title} | {8 * size / numbers:.2f} | {found.kl:.3g} | {found.top1:.1%} | {counted} |", flush=True)
    path.unlink()
    return size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.mixes")
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--quants", default=_QUANTS)
    parser.add_argument("--tokens", type=int, default=4096)
    asked = parser.parse_args()
    main(asked.base, asked.adapter, asked.quants.split(","), asked.tokens)
