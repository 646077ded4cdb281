"""Schemes for vLLM: tensor by tensor what llm-compressor makes of the merged model, and what making them costs, as
well as what is made for MLX.

Run as `REFERENCE=…/bin/python python -m bench.schemes [LAYERS]`: of so many layers of a model of Phi-3-mini's shape
(3, 1.1 GB in bf16), with random weights. REFERENCE is the Python of an environment of its own with `llmcompressor`
(0.14.0.1; 1.5 GB); without it nothing is compared, and that is said. Costs are seconds of the processor, the fewest of
some runs, so that other work on the machine counts little.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.schemes import SCHEMES

from bench.checkpoint import make_apart
from bench.measure import python
from bench.sides import MLX

_TIMES = 3
_ALL = ("bf16", *SCHEMES)
# What is not compared here, but by bench/mlx_models.py.
_COSTS = (*_ALL, *MLX)
_REFERENCE = """
import sys
from llmcompressor import model_free_ptq
merged, made, scheme, *left_alone = sys.argv[1:]
model_free_ptq(merged, made, scheme=scheme, ignore=left_alone, max_workers=1, device="cpu")
"""


class _Cost(Struct, frozen=True, kw_only=True):
    """Seconds of the processor, and bytes of memory at most."""

    seconds: float
    memory: int


def main(layers: int) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        make_apart(folder, layers)
        _print_costs(folder)
        made = _made(folder, _ALL)
        reference = os.environ.get("REFERENCE")
        if not reference:
            print("\nNothing was compared: REFERENCE names no Python with llmcompressor.")
            return
        shutil.copy(folder / "base" / "config.json", made / "bf16")
        for scheme in SCHEMES:
            theirs = _cost([reference, "-c", _REFERENCE, *_arguments(folder, made, scheme)])
            same = _compared(made / scheme, folder / "theirs")
            print(f"\n{scheme}: {same}; llm-compressor took {theirs.seconds:.1f} processor seconds", flush=True)
            shutil.rmtree(folder / "theirs")


def _arguments(folder: Path, made: Path, scheme: str) -> list[str]:
    left_alone = ["lm_head", "model.embed_tokens"]
    return [str(made / "bf16"), str(folder / "theirs"), scheme.upper().replace("-", "_"), *left_alone]


def _print_costs(folder: Path) -> None:
    print("| | processor seconds | of a merge | peak memory |\n|---|---:|---:|---:|")
    merge: _Cost | None = None
    for names in (*((name,) for name in _COSTS), _ALL):
        costs = []
        for _ in range(_TIMES):
            shutil.rmtree(folder / "made", ignore_errors=True)
            (folder / "made").mkdir()
            costs.append(_cost(python("bench.sides", "schemes", str(folder), *names)))
        best = min(costs, key=lambda cost: cost.seconds)
        merge = merge or best
        times = best.seconds / merge.seconds
        print(f"| {', '.join(names)} | {best.seconds:.2f} | {times:.2f} | {best.memory / 1e6:.0f} MB |", flush=True)


def _made(folder: Path, names: Sequence[str]) -> Path:
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    subprocess.run(python("bench.sides", "schemes", str(folder), *names), check=True)
    return made


def _cost(command: Sequence[str]) -> _Cost:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return _Cost(seconds=usage.ru_utime + usage.ru_stime, memory=usage.ru_maxrss * 1024)


def _compared(ours: Path, theirs: Path) -> str:
    """How many tensors are the same, by name, dtype, shape and bytes."""
    found = [_digests(folder) for folder in (ours, theirs)]
    others = sorted(name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name))
    if others:
        raise RuntimeError(f"{ours.name}: {len(others)} tensors differ, first {others[0]}")
    return f"all {len(found[0])} tensors are the same"


def _digests(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (entry.dtype, entry.shape, _digest_of(shard.path, entry.start, entry.end))
        for shard in open_checkpoint(folder).shards
        for name, entry in shard.tensors.items()
    }


def _digest_of(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(end - start)).digest()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
