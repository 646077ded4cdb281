"""What formats share: opening base + adapter, and the files that go with the weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagship.formats.differences import NotAsExported, differences, listed
from tagship.formats.protocol import ExportJob, Footprint
from tagship.runs.base_folder import vocabulary_rows
from tagship.runs.model_files import CONFIG_FILE, TOKENIZER_FILE, model_files
from tagship.runs.tokenizer_file import read_tokenizer_file
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.weights.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights
    from tagship.weights.schemes import Scheme


def open_weights(job: ExportJob, dtype: str | None = None, scheme: "Scheme | None" = None) -> "MergedWeights":
    """Base and adapter, checked to fit each other and the tokenizer.

    `dtype` is what the floats are converted to, None to keep the base's; `scheme` is what the merged weights are
    quantized by. Raises ReleaseError, tensor by tensor, when they don't fit.
    """
    from tagship.weights.lora import read_adapter
    from tagship.weights.merge import MergedWeights

    base, adapter = open_checkpoint(job.base.path), read_adapter(job.run.path)
    weights = MergedWeights(base, adapter, dtype, job.nf4, scheme, portable=job.policy.portable)
    _check_vocabulary(job, weights)
    return weights


# Merging holds a few blocks of rows for each core, whatever the model's size, beside the adapter's part in a tensor.
_MEMORY = 400 << 20
# Bytes of 16-bit weights a second: from page cache to page cache, and where the disk is waited for
# (docs/performance.md). Quantizing takes up to half as long again.
_FASTEST, _SLOWEST, _QUANTIZING = 2.8e9, 0.8e9, 1.5


def merge_footprint(weights: "MergedWeights", *, quantizes: bool, by_file: int | None = None) -> Footprint:
    """What writing merged weights needs, where `quantizes` is whether they are quantized as they are written."""
    size = weights.nbytes
    # By headers: a base that is not here yet is not longer or shorter for its files' own headers.
    read = max(size, sum(entry.nbytes for entry in weights.base.entries().values()))
    seconds = (read / _FASTEST, (_QUANTIZING if quantizes else 1) * read / _SLOWEST)
    return Footprint(disk=size, memory=_MEMORY + weights.prepared, work=size, seconds=seconds, by_file=by_file)


def copy_model_files(job: ExportJob, weights: "MergedWeights", folder: Path) -> None:
    """Put configuration, tokenizer and chat template into an export; the configuration says what the
    merge changed."""
    files = model_files(job.base, job.run.path)
    files.write(folder)
    if changed := weights.config_changes():
        write_json(folder / CONFIG_FILE, with_changes(files.document(CONFIG_FILE), changed))


def check_model_files(job: ExportJob, folder: Path, expected: Path, what: str) -> None:
    """Raise NotAsExported for an export with other files beside its weights than `expected` has: not all that they say
    shows in its answers."""
    if found := differences(folder, expected):
        raise NotAsExported(
            f"{what} has not the files of {job.run.name} and its base: {listed(found)}",
            remedy="its answers would be to other prompts, end elsewhere, or be another model's: export it again",
        )


def with_changes(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A configuration with other values, in the place where it has them: also inside `text_config`."""
    if "dtype" in changes:  # torch_dtype, as transformers before 4.56 called it
        changes = changes | {"torch_dtype": changes["dtype"]}
    inner = config.get("text_config")
    inner = inner if isinstance(inner, dict) else {}
    changed = dict(config)
    if inner:
        # What neither says has a default, and runtimes ask either of the two about tied embeddings.
        known = {key: value for key, value in changes.items() if key in (*inner, "tie_word_embeddings")}
        changed["text_config"] = inner | known
    for key, value in changes.items():
        if key in config or (key not in inner and key != "torch_dtype"):
            changed[key] = value
    return changed


def _check_vocabulary(job: ExportJob, weights: "MergedWeights") -> None:
    """Raise ReleaseError when a token of the tokenizer would have no row in the embedding, or the embedding has
    fewer rows than the configuration says."""
    declared = weights.config_changes().get("vocab_size", vocabulary_rows(job.base.path))
    held = _embedding_rows(weights)
    if declared is not None and held is not None and held < declared:
        raise ReleaseError(
            f"config.json of the base model in {job.base.path} has vocab_size {declared}, its embedding {held} rows",
            remedy="fetch the model again, whole",
        )
    rows = declared if held is None else held
    tokenizer = model_files(job.base, job.run.path).sources.get(TOKENIZER_FILE)
    if rows is None or tokenizer is None:
        return
    tokens = tokens_of(tokenizer)
    # Some bases have tokens that nothing embeds, such as an image's in a model of text alone.
    if tokens > rows and tokens > tokens_of(job.base.path / TOKENIZER_FILE):
        raise ReleaseError(
            f"{tokenizer} has the token id {tokens - 1}, but the model has {rows} rows",
            remedy="the run resized the vocabulary: it needs its embeddings saved with it (modules_to_save)",
        )


def _embedding_rows(weights: "MergedWeights") -> int | None:
    """The rows of the embedding; None where a model has none that is known, or several."""
    from tagship.weights.tied_embeddings import embeddings_of

    names = embeddings_of(weights.outputs)
    return weights.outputs[names[0]].shape[0] if len(names) == 1 else None


def tokens_of(tokenizer: Path) -> int:
    """One more than the largest token id of a tokenizer.json; 0 where there is none."""
    return read_tokenizer_file(tokenizer).tokens if tokenizer.is_file() else 0
