"""What each quantization type costs small models with real weights, and what a broken export costs them.

Run as `python -m bench.quality [--wide] [--tokens N] [--quants q8_0,q2_k] [--imatrix] [--broken] FILE.gguf`: the GGUF
is made a base with an adapter (`bench/small_models.py`), as it is or with rows of 768 numbers, released in every type,
by every scheme for vLLM (`vllm` is 16 bits) and for MLX (`mlx-4bit`, …), and held against base + adapter along the
first N tokens (2,048) of the text that ships with tagship. `--imatrix` weighs GGUFs by an importance matrix, made along
the other text that ships; types that need one are left out without it. `--broken` also measures exports that are wrong
on purpose, in 16 bits. docs/quality.md has the tables, and where the models are from.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from msgspec import Struct
from safetensors.numpy import load_file, save_file
from tagship.formats.ollama.importance import SHIPPED, measure
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.gguf.imatrix import Imatrix, read_imatrix, write_imatrix
from tagship.gguf.quant_mix import QUANTS, Mix
from tagship.system.errors import ReleaseError
from tagship.verify.evidence import Measured
from tagship.verify.measured_text import read_text, shipped_text
from tagship.verify.measures import per_token
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.schemes import SCHEMES

from bench.exports import exported
from bench.small_models import make

_HEAD = (
    "| | bits | mean KL | median | 99% | largest | RMS Δp | same likeliest | perplexity | worst 64 |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)
_MLX = ("mlx-bf16", "mlx-8bit", "mlx-4bit")
# A short answer.
_FEW = 64


class Trained(Struct, frozen=True, kw_only=True):
    """A model folder of ours, base + adapter in its runtime, and the text in its tokens."""

    folder: Path
    reference: Model
    text: tuple[Tokens, ...]
    runtimes: Runtimes


def main(file: Path, quants: Sequence[str], tokens: int, *, wide: bool, broken: bool, weighed: bool) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name, Runtimes() as runtimes:
        folder = Path(name)
        make(folder, file, wide=wide)
        trained = open_trained(folder, runtimes, tokens)
        number = sum(len(part.looked_at) for part in trained.text)
        print(f"\n### {file.stem}{', rows of 768' if wide else ''}, {number} tokens\n\n{_HEAD}", flush=True)
        ggufs = [quant for quant in quants if quant in QUANTS and (weighed or not QUANTS[quant].needs_imatrix)]
        _measure_types(trained, ggufs, weighed)
        _measure_schemes(trained, [quant for quant in quants if quant in ("vllm", *SCHEMES)])
        _measure_mlx(trained, [quant for quant in quants if quant in _MLX])
        if broken:
            _measure_broken(trained)


def open_trained(folder: Path, runtimes: Runtimes, tokens: int) -> Trained:
    """What `base/` and `adapter/` of a folder are, and so many tokens of the text that measures."""
    subject = Subject(what="base + adapter", model=folder / "base", adapter=folder / "adapter")
    reference = runtimes.kept("transformers", subject)
    text: list[Tokens] = []
    for ids in reference.spell(shipped_text()):
        room = tokens - sum(len(part.looked_at) for part in text)
        if room > 0 and len(ids) > 1:
            text.append(Tokens(ids=tuple(ids[: room + 1]), since=1))
    return Trained(folder=folder, reference=reference, text=tuple(text), runtimes=runtimes)


def _measure_types(trained: Trained, quants: Sequence[str], weighed: bool) -> None:
    folder = trained.folder
    imatrix = importance(folder) if weighed else None
    made = release(folder, folder / "base", folder / "adapter", quants, imatrix)
    for quant, path in made.items():
        _print(quant, path, trained)
        path.unlink()


def importance(folder: Path) -> Imatrix:
    """An importance matrix of the merged model of a folder's `base/` and `adapter/`, along the text that ships for
    that."""
    plain = release(folder, folder / "base", folder / "adapter", ["f16"])["f16"]
    text = "\n\n".join(passage.plain for passage in read_text(SHIPPED))
    began = time.process_time()
    made = measure(plain, text, lambda _: None)
    seconds = time.process_time() - began
    path = folder / "imatrix.gguf"
    write_imatrix(path, made.sums, dataset=SHIPPED.name, chunks=made.chunks, chunk=made.chunk)
    plain.unlink()
    print(f"importance matrix: {made.chunks} pieces of {made.chunk} tokens, {seconds:.0f} s of a processor\n")
    return read_imatrix(path)


def _measure_schemes(trained: Trained, names: Sequence[str]) -> None:
    """What the schemes for vLLM cost, as they are verified: in the forward pass of transformers."""
    base, adapter = open_checkpoint(trained.folder / "base"), read_adapter(trained.folder / "adapter")
    for name in names:
        folder = trained.folder / name
        shutil.copytree(trained.folder / "base", folder, ignore=shutil.ignore_patterns("*.safetensors"))
        try:
            weights = MergedWeights(base, adapter, scheme=SCHEMES.get(name))
        except ReleaseError as refused:
            print(f"{name}: {refused}", file=sys.stderr)
            continue
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | weights.config_changes()))
        write_merged([(weights, folder)])
        _print(name, folder, trained, "transformers")
        shutil.rmtree(folder)


def _measure_mlx(trained: Trained, names: Sequence[str]) -> None:
    """What the variants for MLX cost, as they are verified."""
    for name in names:
        made = trained.folder / name
        exported("mlx", name.removeprefix("mlx-"), trained.folder / "base", trained.folder / "adapter", made)
        _print(name, made, trained, "transformers")
        shutil.rmtree(made)


def _print(name: str, path: Path, trained: Trained, runtime: str = "llama_cpp") -> None:
    found, worst = measured(name, path, trained, runtime)
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    bits = 8 * sum(file.stat().st_size for file in files) / _numbers(trained.folder)
    print(_row(name, bits, found, worst), flush=True)


def measured(name: str, path: Path, trained: Trained, runtime: str) -> tuple[Measured, Measured]:
    """How far a model is from base + adapter along the text, and along the few tokens where it is furthest."""
    following = [token for part in trained.text for token in part.looked_at]
    with trained.runtimes.model(runtime, Subject(what=name, model=path)) as model:
        along = per_token(trained.reference.rows(trained.text), model.rows(trained.text), following)
    found = along.measured()
    starts = range(0, len(following) - _FEW + 1, _FEW)
    worst = max(
        (along.part(start, start + _FEW).measured() for start in starts), key=lambda part: part.kl, default=found
    )
    return found, worst


def _row(name: str, bits: float, found: Measured, worst: Measured) -> str:
    return (
        f"| {name} | {bits:.1f} | {found.kl:.3g} | {found.kl_median:.2g} | {found.kl_99:.2g} | {found.kl_max:.2g} "
        f"| {found.rms_probability:.2%} | {found.top1:.1%} | {found.perplexity_ratio:.4f} "
        f"| {worst.kl:.2g}, {worst.top1:.0%} |"
    )


def _numbers(folder: Path) -> int:
    return sum(entry.elements for entry in open_checkpoint(folder / "base").entries().values())


def release(
    folder: Path,
    base: Path,
    adapter: Path,
    quants: Sequence[str],
    imatrix: Imatrix | None = None,
    mixes: Mapping[str, Mix] | None = None,
) -> dict[str, Path]:
    """GGUFs of a base with an adapter, by type."""
    model = folder / "model"
    model.mkdir()
    for path in base.iterdir():
        (model / path.name).symlink_to(path.resolve())
    targets = {quant: folder / f"{quant}.gguf" for quant in quants}
    metadata = GgufMetadata(general={"general.name": "bench"}, license="mit", add_bos=None)
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter))
    write_ggufs(weights, model, targets, metadata, lambda _: None, mixes=mixes, imatrix=imatrix)
    shutil.rmtree(model)
    return targets


# Exports that are wrong


def _measure_broken(trained: Trained) -> None:
    for name, spoil in _BROKEN.items():
        folder = trained.folder / "broken"
        base, adapter = folder / "base", folder / "adapter"
        shutil.copytree(trained.folder / "base", base)
        shutil.copytree(trained.folder / "adapter", adapter)
        spoil(base, adapter)
        _print(name, release(folder, base, adapter, ["f16"])["f16"], trained)
        shutil.rmtree(folder)


def _scaled_adapter(factor: float) -> Callable[[Path, Path], None]:
    def spoil(_: Path, adapter: Path) -> None:
        path = adapter / "adapter_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] * factor}))

    return spoil


def _scaled(share: float) -> Callable[[Path, Path], None]:
    """One tensor, in the middle, multiplied."""

    def spoil(base: Path, _: Path) -> None:
        tensors, middle = _opened(base)
        name = f"model.layers.{middle}.mlp.down_proj.weight"
        tensors[name] = (tensors[name].astype(np.float32) * share).astype(ml_dtypes.bfloat16)
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})

    return spoil


def _swapped(base: Path, _: Path) -> None:
    tensors, middle = _opened(base)
    ours, theirs = f".{middle}.", f".{middle + 1}."
    both = [name for name in tensors if ours in name]
    for name in both:
        other = name.replace(ours, theirs)
        tensors[name], tensors[other] = tensors[other], tensors[name]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def _opened(base: Path) -> tuple[dict[str, np.ndarray], int]:
    config = json.loads((base / "config.json").read_text())
    return load_file(base / "model.safetensors"), config["num_hidden_layers"] // 2


_BROKEN: dict[str, Callable[[Path, Path], None]] = {
    "without the adapter": _scaled_adapter(0),
    "adapter at half its scale": _scaled_adapter(0.5),
    "adapter applied twice": _scaled_adapter(2),
    "a tensor of zeros": _scaled(0),
    "a tensor at half its scale": _scaled(0.5),
    "two layers swapped": _swapped,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality")
    parser.add_argument("file", type=Path)
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--quants", default=",".join((*QUANTS, "vllm", *SCHEMES, *_MLX)))
    parser.add_argument("--imatrix", action="store_true")
    parser.add_argument("--broken", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    quants = asked.quants.split(",")
    main(asked.file, quants, asked.tokens, wide=asked.wide, broken=asked.broken, weighed=asked.imatrix)
