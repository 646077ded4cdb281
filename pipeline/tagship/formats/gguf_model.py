"""What formats made by llama.cpp's converter share: what it is given beside the weights, and what a GGUF has to be told
of a tokenizer."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagship.formats.protocol import ExportJob
from tagship.runs.model_files import TOKENIZER_CONFIG, TOKENIZER_FILE, model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.system.json_files import read_object
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.tied_embeddings import is_vocabulary

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights

_PHI3 = re.compile("phi-?3")
_EXPERT = re.compile(r"\.experts\.\d+\.")
# How SentencePiece spells a space.
_SPACE = "\u2581"
# torch, transformers, a compiler for K-quants, and a large vocabulary; a Phi-3-mini takes 500 MB in all.
_CONVERTER_MEMORY = 600 << 20


def memory_to_convert(weights: "MergedWeights") -> int:
    """The most memory that a GGUF of base + adapter takes while it is made, in bytes, by headers alone."""
    elements = {name: output.source.entry.elements for name, output in weights.outputs.items()}
    # What the converter permutes, splits or transposes is held in the base's 16 bits and twice in float32.
    # Embeddings and heads, the largest of many models, it takes as they are; tensors of one expert it stacks.
    held = max((n for name, n in elements.items() if not (is_vocabulary(name) or _EXPERT.search(name))), default=0)
    return _CONVERTER_MEMORY + 10 * held + weights.prepared


def by_run(parts: Sequence[tuple[ExportJob, Path]]) -> list[list[tuple[ExportJob, Path]]]:
    """Exports with their folders, those of one run together."""
    runs: dict[Path, list[tuple[ExportJob, Path]]] = {}
    for job, folder in parts:
        runs.setdefault(job.run.path, []).append((job, folder))
    return list(runs.values())


def without_code(job: ExportJob) -> ExportJob:
    """The same, in this process, where code of the base is never run."""
    return replace(job, base=replace(job.base, trust_remote_code=False))


def check_tokenizer(job: ExportJob, format_name: str) -> None:
    """Raise ReleaseError for a tokenizer that only code of the base reads: prompts are made without."""
    files = model_files(job.base, job.run.path)
    if files.tokenizer_code and TOKENIZER_FILE not in files.names():
        raise ReleaseError(
            f"the tokenizer of {job.base.id} is read by code of its own alone ({', '.join(files.tokenizer_code)}), "
            f"and the {format_name} format needs a tokenizer.json",
            remedy=f"put a tokenizer.json beside the run's adapter, or leave the {format_name} format out",
        )


def link_weights(weights: "MergedWeights", model: Path) -> None:
    """Put the base's weights into a folder, where the converter looks for them."""
    for shard in weights.base.shards:
        (model / shard.path.name).symlink_to(shard.path.resolve())
    if weights.base.index is not None:
        (model / INDEX_FILE).symlink_to((weights.base.folder / INDEX_FILE).resolve())


def tell_added_tokens(model: Path) -> None:
    """Say the added tokens where the converter looks for them beside a tokenizer.model: transformers 5 has them in
    tokenizer.json alone."""
    config = read_object(model / TOKENIZER_CONFIG)
    if not (model / "tokenizer.model").is_file() or config.get("added_tokens_decoder"):
        return
    added = read_object(model / TOKENIZER_FILE).get("added_tokens") or ()
    decoder = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added}
    if decoder:
        write_json(model / TOKENIZER_CONFIG, config | {"added_tokens_decoder": decoder})


def swallows(tokenizer: Any) -> bool:
    """Whether special tokens of one of transformers' tokenizers take the white space after them."""
    return any(token.rstrip for token in tokenizer.added_tokens_decoder.values() if token.special)


def space_prefix(tokenizer: Any) -> bool | None:
    """Whether it puts a space before a text; None where it spells spaces otherwise than SentencePiece."""
    vocabulary = tokenizer.get_vocab()
    if not any(piece.startswith(_SPACE) and piece != _SPACE for piece in vocabulary):
        return None
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])
    return bool(pieces and pieces[0].startswith(_SPACE))


def known_name(name: str, *, swallowing: bool) -> str:
    """What a GGUF is called: llama.cpp knows by "phi-3" in it alone that special tokens swallow white space, whatever
    somebody calls a base that does so."""
    return f"{name}, of the phi-3 family" if swallowing and not _PHI3.search(name.lower()) else name
