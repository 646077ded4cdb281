"""What `bench/export.py` measures, each in a process of its own, which imports what that side needs and no more.

Run as `python -m bench.sides SIDE FOLDER [ARGUMENTS]`, where the folder is what `bench/checkpoint.py` makes, with an
empty `made/` in it.
"""

import sys
from pathlib import Path

# Bits of what is made for MLX, by the names that it has here.
MLX = {"mlx-4bit": 4, "mlx-8bit": 8}


def ours(folder: Path, *adapters: str) -> None:
    """Merge with tagship: one adapter, or several of them from one reading."""
    from tagship.weights.checkpoint import open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights
    from tagship.weights.merge_writer import write_merged

    models = []
    for path in [folder / "adapters" / name for name in adapters] or [folder / "adapter"]:
        merged = folder / "made" / path.name
        merged.mkdir()
        models.append((MergedWeights(open_checkpoint(folder / "base"), read_adapter(path)), merged))
    write_merged(models)


def portable(folder: Path) -> None:
    """Merge with tagship, with the same bytes on every processor."""
    from tagship.weights.checkpoint import open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights
    from tagship.weights.merge_writer import write_merged

    merged = folder / "made" / "portable"
    merged.mkdir()
    base, adapter = open_checkpoint(folder / "base"), read_adapter(folder / "adapter")
    write_merged([(MergedWeights(base, adapter, portable=True), merged)])


def nf4(folder: Path, quantized: str) -> None:
    """Merge with tagship into what the base dequantizes to from NF4, `single` or `double`."""
    from tagship.weights.checkpoint import open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights
    from tagship.weights.merge_writer import write_merged
    from tagship.weights.nf4_form import Nf4

    merged = folder / "made" / "nf4"
    merged.mkdir()
    form = Nf4(double=quantized == "double")
    weights = MergedWeights(open_checkpoint(folder / "base"), read_adapter(folder / "adapter"), nf4=form)
    write_merged([(weights, merged)])


def schemes(folder: Path, *names: str) -> None:
    """Merge with tagship, quantized by these schemes for vLLM, or for MLX, from one reading; `bf16` is plain."""
    from tagship.system.json_files import read_object
    from tagship.weights.affine import Affine
    from tagship.weights.checkpoint import open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights
    from tagship.weights.merge_writer import write_merged
    from tagship.weights.mlx_tensors import as_mlx
    from tagship.weights.schemes import SCHEMES

    models = []
    for name in names:
        merged = folder / "made" / name
        merged.mkdir()
        base, adapter = open_checkpoint(folder / "base"), read_adapter(folder / "adapter")
        weights = MergedWeights(base, adapter, scheme=SCHEMES.get(name))
        if name in MLX:
            weights = as_mlx(weights, read_object(folder / "base" / "config.json"), Affine(bits=MLX[name]))
        models.append((weights, merged))
    write_merged(models)


def gguf(folder: Path, *quants: str) -> None:
    """Make GGUFs with tagship."""
    import logging
    import shutil

    from tagship.gguf.conversion import GgufMetadata, write_ggufs
    from tagship.weights.checkpoint import open_checkpoint
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights

    logging.disable(logging.WARNING)
    weights = MergedWeights(open_checkpoint(folder / "base"), read_adapter(folder / "adapter"))
    model = folder / "made" / "model"
    model.mkdir()
    for path in (folder / "base").iterdir():
        (model / path.name).symlink_to(path)
    metadata = GgufMetadata(general={"general.name": "bench"}, license="mit", add_bos=None)
    targets = {quant: folder / "made" / f"{quant}.gguf" for quant in quants}
    write_ggufs(weights, model, targets, metadata, lambda _: None)
    shutil.rmtree(model)


def peft(folder: Path) -> None:
    """Merge with PEFT, as its documentation shows."""
    import shutil

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged = folder / "made" / "merged"
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="auto")
    PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload().save_pretrained(merged)
    for path in (folder / "base").glob("tokenizer*"):
        shutil.copy(path, merged)


if __name__ == "__main__":
    {"ours": ours, "portable": portable, "nf4": nf4, "schemes": schemes, "gguf": gguf, "peft": peft}[sys.argv[1]](
        Path(sys.argv[2]), *sys.argv[3:]
    )
