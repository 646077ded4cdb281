"""Merging an adapter: ours against PEFT's merge_and_unload + save_pretrained, and against `cp -r`.

Run as `python -m bench.merge [LAYERS]`: 8 layers (a quarter of Phi-3-mini) by default, 32 for all of it.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.checkpoint import make_apart
from bench.measure import best, python, table


def main(layers: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        make_apart(folder, layers)
        size = sum(path.stat().st_size for path in (folder / "base").iterdir())
        sides = {
            "tagship": python("bench.merge", "ours", name),
            "cp -r of the base": ["cp", "-r", str(folder / "base"), str(folder / "merged")],
            "PEFT merge_and_unload + save_pretrained": python("bench.merge", "peft", name),
        }
        rows = []
        for side, command in sides.items():
            shutil.rmtree(folder / "merged", ignore_errors=True)
            os.sync()  # what was written before is not to be paid for by this side
            rows.append((side, best(command, 1)))
        table(f"Merge of rank 32 into {size / 1e9:.1f} GB (Phi-3-mini, {layers} of 32 layers)", rows)


def ours(folder: Path) -> None:
    """Merge with tagship."""
    from pipeline.weights.checkpoint import open_checkpoint
    from pipeline.weights.lora import read_adapter
    from pipeline.weights.merge import MergedWeights
    from pipeline.weights.writing import write_merged

    (folder / "merged").mkdir()
    write_merged(
        [(MergedWeights(open_checkpoint(folder / "base"), read_adapter(folder / "adapter")), folder / "merged")]
    )


def peft(folder: Path) -> None:
    """Merge with PEFT, as its documentation shows."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="auto")
    PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload().save_pretrained(folder / "merged")


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["peft"]):
        {"ours": ours, "peft": peft}[sys.argv[1]](Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 8)
