"""What llama.cpp's mixes of types leave lying: at the same size, mixes that a release finds (`[formats.ollama.mixes]`).

Run as `python -m bench.mixes [--tokens N] [--quants q4_k_m,q3_k_m] [--by tensors,shares] BASE ADAPTER`: two folders, of
which an importance matrix is made along the text that ships for that. What tensors cost in each type is measured as
a release measures it; then for each of llama.cpp's mixes one of as many bytes is found: by what each `tensor` costs, or
to see what that is worth, by the share of the tensor that is lost (`shares`), by what is lost (`errors`), or by shares
times what is lost by all tensors of a kind together (`kinds`). Each file is measured in llama.cpp against the
unquantized one, along the first N tokens of the text that measures. docs/quality.md has tables.
"""

import argparse
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tagship.formats.ollama.along import Along
from tagship.formats.ollama.importance import SHIPPED
from tagship.formats.ollama.mix_search import patterns_of
from tagship.formats.ollama.tensor_costs import TensorCosts, measure_costs
from tagship.gguf.allocation import Cost, allocate, predicted
from tagship.gguf.header import read_gguf_header
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.quant_mix import Mix
from tagship.gguf.tensor_errors import Coded, coded
from tagship.gguf.unquantized import Unquantized
from tagship.verify.measured_text import LONGEST_READ, first_tokens, read_text, shipped_text
from tagship.verify.rendering import spell_passage

from bench.quality import importance, release

_QUANTS = "q3_k_m,iq4_xs,q4_k_m,q5_k_m"
_HEAD = "| | bits | nats predicted | mean KL | same likeliest | types |\n|---|---:|---:|---:|---:|---|"


def main(base: Path, adapter: Path, quants: Sequence[str], ways: Sequence[str], tokens: int) -> None:
    """Print a table."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        shutil.copytree(base, folder / "base")
        shutil.copytree(adapter, folder / "adapter")
        imatrix = importance(folder)
        plain = release(folder, folder / "base", folder / "adapter", ["bf16"])["bf16"]
        tokenizer = AutoTokenizer.from_pretrained(folder / "base")
        spelled = (spell_passage(tokenizer, passage) for passage in read_text(SHIPPED))
        began = time.process_time()
        costs = measure_costs(plain, imatrix, spelled, folder, lambda _: None)
        print(f"{len(costs.parts)} parts, {costs.tokens} tokens, {time.process_time() - began:.0f} s of a processor\n")
        texts = first_tokens((spell_passage(tokenizer, each) for each in shipped_text()), tokens, LONGEST_READ)
        along = Along(plain, texts, folder)
        print(f"{sum(len(text.looked_at) for text in texts)} tokens\n\n{_HEAD}", flush=True)
        by = _ways(costs, plain, imatrix)
        for quant in quants:
            size = _print(quant, Mix(quant=quant), folder, imatrix, costs, along)
            for way in ways:
                found = allocate(costs.table, size, by[way])
                mix = Mix(quant=quant, choices=patterns_of(found))
                _print(f"{quant} by {way}", mix, folder, imatrix, costs, along)


def _ways(costs: TensorCosts, plain: Path, imatrix: Imatrix) -> Mapping[str, Cost]:
    """What mixes are found by."""
    kinds: dict[str, list[float]] = {}
    for part in costs.parts:
        sums = kinds.setdefault(_kind(part.names[0]), [0.0, 0.0])
        sums[0] += part.kl
        sums[1] += part.losses
    whole = _sizes(plain, imatrix)
    return {
        "tensors": costs.cost(),
        "shares": lambda _, each: each.loss,
        "errors": lambda name, each: each.loss * whole[name],
        "kinds": lambda name, each: each.loss * kinds[_kind(name)][0] / kinds[_kind(name)][1],
    }


def _kind(name: str) -> str:
    return re.sub(r"^blk\.\d+\.", "", name)


def _sizes(plain: Path, imatrix: Imatrix) -> dict[str, float]:
    """The weighed square of all of each tensor."""
    model, found = Unquantized(plain), {}
    for name, matrix in model.matrices.items():
        importance = imatrix.of(name, matrix.shape)
        found[name] = 0.0
        for number in range(matrix.matrices):
            weighs = np.ones(matrix.columns) if importance is None else importance[number]
            found[name] += float((np.square(model.rows(matrix, number)) @ weighs).sum())
    return found


def _print(title: str, mix: Mix, folder: Path, imatrix: Imatrix, costs: TensorCosts, along: Along) -> int:
    """A row of a file; returns the bytes of the tensors that mixes are of."""
    path = release(folder, folder / "base", folder / "adapter", [mix.quant], imatrix, {mix.quant: mix})[mix.quant]
    held = [tensor for tensor in read_gguf_header(path).tensors if tensor.name in costs.table]
    size = sum(tensor.nbytes for tensor in held)
    known = {tensor.name: _known(costs.table[tensor.name], tensor.type_name) for tensor in held}
    told = "" if None in known.values() else f"{predicted({n: c for n, c in known.items() if c}, costs.cost()):.3g}"
    counted = Counter(tensor.type_name for tensor in held)
    types = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
    found = along.measured(path)
    print(f"| {title} | {costs.bits(size):.2f} | {told} | {found.kl:.3g} | {found.top1:.1%} | {types} |", flush=True)
    path.unlink()
    return size


def _known(rows: Sequence[Coded], kind: str) -> Coded | None:
    return coded(rows, kind) if any(each.type == kind for each in rows) else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.mixes")
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--quants", default=_QUANTS)
    parser.add_argument("--by", default="tensors,shares,errors,kinds")
    parser.add_argument("--tokens", type=int, default=2048)
    asked = parser.parse_args()
    main(asked.base, asked.adapter, asked.quants.split(","), asked.by.split(","), asked.tokens)
