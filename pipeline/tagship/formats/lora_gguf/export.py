"""The adapter as a GGUF, and a GGUF of its base to run it beside, made in a worker: the converter and what it imports
are not ours."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tagship.formats.gguf_model import (
    known_name,
    link_weights,
    metadata_of,
    quant_of,
    space_prefix,
    swallows,
    tell_added_tokens,
    write_digests,
)
from tagship.formats.model_folder import copy_model_files, open_weights
from tagship.formats.protocol import ExportJob
from tagship.gguf.types import FILE_TYPES
from tagship.runs.model_files import CONFIG_FILE, has_chat_template, model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.system.progress import Advance, silent

if TYPE_CHECKING:
    from tagship.gguf.conversion import GgufMetadata
    from tagship.weights.merge import MergedWeights

# A type in a file's name: what the Hub and Ollama read as a quantization type of a model is not said.
WORDS: Mapping[str, str] = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "q8_0": "8bit"}
_LABEL = re.compile("|".join(sorted(FILE_TYPES.values(), key=len, reverse=True)))
# The type that a base of this dtype is in as it is.
_AS_IT_IS = {"BF16": "bf16", "F16": "f16"}


def file_name(job: ExportJob) -> str:
    """`…-LoRA-float16.gguf`: the Hub and Ollama take the last label in a name for the quantization type of a model."""
    title = "" if _LABEL.search(job.title.upper()) else f"{job.title}-"
    return f"{title}LoRA-{WORDS[quant_of(job)]}.gguf"


def export_run(parts: Sequence[tuple[ExportJob, Path]], digests: Path, advance: Advance) -> None:
    """In the worker: export the types of one run; `digests` gets the SHA-256 of their GGUFs."""
    from tagship.gguf.adapter_conversion import write_adapter

    job, folder = parts[0]
    try:
        with _configured(job, folder) as (weights, model):
            written = write_adapter(
                weights,
                model,
                {quant_of(each): into / file_name(each) for each, into in parts},
                _metadata([each for each, _ in parts]),
                advance,
                trust_remote_code=job.base.trust_remote_code,
            )
        write_digests(digests, written)
    except OSError as error:
        raise ReleaseError(f"the lora-gguf export could not be written: {error}") from error


def try_run(jobs: Sequence[ExportJob]) -> None:
    """In the worker: do what may fail before weights are read, also of the base's GGUF."""
    from tagship.gguf.adapter_conversion import try_adapter
    from tagship.gguf.conversion import try_conversion

    job = jobs[0]
    with tempfile.TemporaryDirectory(prefix="tagship-try-") as folder:
        with _configured(job, Path(folder)) as (weights, model):
            try_adapter(weights, model, _metadata([job]), trust_remote_code=job.base.trust_remote_code)
        with _base_model(job, Path(folder)) as (base, model, metadata):
            try_conversion(base, model, metadata, trust_remote_code=job.base.trust_remote_code)


def base_type(job: ExportJob) -> str:
    """The type in which a base's GGUF has its numbers as they are."""
    return _AS_IT_IS.get(open_weights(job).base.main_dtype, "f32")


def write_base(job: ExportJob, path: Path) -> None:
    """In the worker: a GGUF of the base as it is, with its own tokenizer, to run adapters beside."""
    from tagship.gguf.conversion import write_ggufs

    try:
        with _base_model(job, path.parent) as (base, model, metadata):
            write_ggufs(
                base, model, {base_type(job): path}, metadata, silent, trust_remote_code=job.base.trust_remote_code
            )
    except OSError as error:
        raise ReleaseError(f"the base's GGUF to run adapters beside could not be written: {error}") from error


@contextmanager
def _configured(job: ExportJob, folder: Path) -> "Iterator[tuple[MergedWeights, Path]]":
    """Base and adapter, and a folder with the configuration that the converter reads."""
    with tempfile.TemporaryDirectory(prefix=".adapter-", suffix=".partial", dir=folder) as staging:
        model = Path(staging, "model")
        model.mkdir()
        write_json(model / CONFIG_FILE, model_files(job.base, job.run.path).document(CONFIG_FILE))
        yield open_weights(job), model


@contextmanager
def _base_model(job: ExportJob, folder: Path) -> "Iterator[tuple[MergedWeights, Path, GgufMetadata]]":
    """The base without the adapter, what the converter reads of it in a folder below `folder`, and what its GGUF says
    of itself."""
    from transformers import AutoTokenizer

    from tagship.gguf.conversion import GgufMetadata
    from tagship.gguf.llama_cpp import remote_code
    from tagship.weights.lora import without_changes
    from tagship.weights.merge import MergedWeights

    whole = open_weights(job)
    base = MergedWeights(whole.base, without_changes(whole.adapter))
    with tempfile.TemporaryDirectory(prefix=".base-", suffix=".partial", dir=folder) as staging:
        model, no_run = Path(staging, "model"), Path(staging, "no-run")
        model.mkdir()
        no_run.mkdir()
        alone = replace(job, run=replace(job.run, path=no_run))
        copy_model_files(alone, base, model)
        tell_added_tokens(model)
        with remote_code(job.base.trust_remote_code):
            tokenizer = AutoTokenizer.from_pretrained(model)
        link_weights(base, model)
        name = known_name(job.base.id.rpartition("/")[2], swallowing=swallows(tokenizer))
        metadata = GgufMetadata(
            general={"general.name": name},
            license=job.base.license,
            # Prompts that a template makes have the token that begins a text, or are to have none.
            add_bos=False if has_chat_template(model_files(job.base, job.run.path)) else None,
            space_prefix=space_prefix(tokenizer),
        )
        yield base, model, metadata


def _metadata(jobs: Sequence[ExportJob]) -> "GgufMetadata":
    base = jobs[0].base.id
    return metadata_of(jobs, f"{jobs[0].title} ({base.rpartition('/')[2]}, LoRA)", base)
