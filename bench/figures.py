"""Our figures beside those of `llama-perplexity --kl-divergence`, of the same models along the same tokens.

Run as `python -m bench.figures [--chunks N] [--quants q8_0,q4_k_m] FILE.gguf`, with llama.cpp's own `llama-perplexity`
in LLAMA_PERPLEXITY. The GGUF is made a base with an adapter (`bench/small_models.py`), and that is released in f32 and
in each type, and merged. llama-perplexity holds each type against the f32 GGUF; we hold it against the merged weights
in transformers, which are the same numbers, along what llama-perplexity looks at: the text as one, in contexts of 512
tokens, of which it reads all and measures the second half.
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tagship.system.pool import cores
from tagship.verify.evidence import Measured
from tagship.verify.measured_text import Passage, shipped_text
from tagship.verify.measures import per_token
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged

from bench.quality import release
from bench.small_models import make

_CONTEXT = 512
_SAID = {
    "kl": r"Mean +KLD: +(\S+)",
    "kl_median": r"Median +KLD: +(\S+)",
    "kl_99": r"99\.0% +KLD: +(\S+)",
    "kl_999": r"99\.9% +KLD: +(\S+)",
    "kl_max": r"Maximum KLD: +(\S+)",
    "rms_probability": r"RMS Δp +: +(\S+)",
    "top1": r"Same top p: +(\S+)",
    "perplexity_ratio": r"Mean PPL\(Q\)/PPL\(base\) +: +(\S+)",
}
_IN_PERCENT = ("rms_probability", "top1")


def main(file: Path, quants: Sequence[str], chunks: int) -> None:
    """Print a table for each type."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name, Runtimes() as runtimes:
        folder = Path(name)
        make(folder, file, wide=False)
        paths = release(folder, folder / "base", folder / "adapter", ["f32", *quants])
        _compare(folder, paths, runtimes, chunks)


def _compare(folder: Path, paths: dict[str, Path], runtimes: Runtimes, chunks: int) -> None:
    text, logits = folder / "text.txt", folder / "logits"
    text.write_text("\n\n".join(map(_plain, shipped_text())))
    known = ["-f", str(text), "-c", str(_CONTEXT), "--chunks", str(chunks), "--kl-divergence-base", str(logits)]
    _perplexity("-m", str(paths["f32"]), *known)
    reference = runtimes.kept("transformers", Subject(what="the merged model", model=_merged(folder)))
    read = list(_contexts(reference, text.read_text(), chunks))
    for quant, path in list(paths.items())[1:]:
        theirs = _figures(_perplexity("-m", str(path), *known, "--kl-divergence"))
        with runtimes.model("llama_cpp", Subject(what=quant, model=path)) as model:
            _print(quant, _measured(reference, model, read), theirs)


def _merged(folder: Path) -> Path:
    merged = folder / "merged"
    merged.mkdir()
    write_merged([(MergedWeights(open_checkpoint(folder / "base"), read_adapter(folder / "adapter")), merged)])
    for path in (folder / "base").iterdir():
        if not (merged / path.name).exists():
            shutil.copy(path, merged)
    return merged


def _plain(passage: Passage) -> str:
    return passage.text or "\n\n".join(message["content"] for message in passage.messages)


def _perplexity(*arguments: str) -> str:
    command = [os.environ["LLAMA_PERPLEXITY"], "-t", str(cores()), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def _contexts(reference: Model, text: str, chunks: int) -> Iterator[Tokens]:
    """As llama-perplexity divides a text: what is left over at its end is not read."""
    ids = list(reference.spell([Passage(kind="text", text=text)])[0])
    for start in range(0, min(chunks * _CONTEXT, len(ids) - _CONTEXT + 1), _CONTEXT):
        yield Tokens(ids=tuple(ids[start : start + _CONTEXT]), since=_CONTEXT // 2 + 1)


def _measured(reference: Model, model: Model, read: Sequence[Tokens]) -> Measured:
    following = [token for tokens in read for token in tokens.looked_at]
    return per_token(reference.rows(read), model.rows(read), following).measured()


def _figures(printed: str) -> dict[str, float]:
    found = {name: re.search(pattern, printed) for name, pattern in _SAID.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise SystemExit(f"llama-perplexity did not print {', '.join(missing)}:\n{printed[-2000:]}")
    numbers = {name: float(match[1].rstrip("%")) for name, match in found.items() if match}
    return {name: value / 100 if name in _IN_PERCENT else value for name, value in numbers.items()}


def _print(quant: str, ours: Measured, theirs: dict[str, float]) -> None:
    print(f"\n### {quant}, {ours.tokens} tokens\n\n| | llama-perplexity | ours | apart |\n|---|---:|---:|---:|")
    for name, value in theirs.items():
        own = float(getattr(ours, name))
        print(f"| {name} | {value:.5g} | {own:.3g} | {own / value - 1:+.1%} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.figures")
    parser.add_argument("file", type=Path)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--quants", default="q8_0,q4_k_m")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    main(asked.file, asked.quants.split(","), asked.chunks)
