"""What formats share: opening base + adapter, and the files that go with the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError
from pipeline.files import copy_file
from pipeline.runs.base_folder import BaseFolder, model_files, vocabulary_rows
from pipeline.runs.run import Run
from pipeline.weights.checkpoint import open_checkpoint
from pipeline.weights.lora import read_adapter

if TYPE_CHECKING:
    from pipeline.weights.merge import MergedWeights


def open_weights(run: Run, base: BaseFolder) -> "MergedWeights":
    """Base and adapter, checked to fit. Raises ReleaseError, tensor by tensor, when they don't."""
    from pipeline.weights.merge import MergedWeights

    return MergedWeights(open_checkpoint(base.path), read_adapter(run.path))


def copy_model_files(run: Run, base: BaseFolder, folder: Path) -> None:
    """Put configuration, tokenizer and chat template into an export.

    Raises ReleaseError when the tokenizer has more tokens than the model has rows for.
    """
    files = model_files(base, run.path)
    check_vocabulary(files, base)
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(source, target)


def check_vocabulary(files: Mapping[str, Path], base: BaseFolder) -> None:
    """Raise ReleaseError when a token of the tokenizer would have no row in the embedding."""
    rows = vocabulary_rows(base.path)
    if rows is None or "tokenizer.json" not in files:
        return
    document = json.loads(files["tokenizer.json"].read_text(encoding="utf-8"))
    added = [token["id"] for token in document.get("added_tokens", ())]
    if added and max(added) >= rows:
        raise ReleaseError(
            f"{files['tokenizer.json']} has the token id {max(added)}, but the model has {rows} rows",
            remedy="the run resized the vocabulary: it needs its embeddings saved with it (modules_to_save)",
        )
