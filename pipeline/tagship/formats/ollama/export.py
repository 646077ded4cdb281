"""A GGUF with the files that Ollama runs it by, made in a worker: the converter and what it imports are not ours."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from tagship.formats.gguf_model import (
    known_name,
    link_weights,
    metadata_of,
    quant_of,
    tell_added_tokens,
    without_code,
    write_digests,
)
from tagship.formats.model_folder import copy_model_files, open_weights
from tagship.formats.ollama.chat import Chat, load_chat
from tagship.formats.ollama.modelfile import quoted
from tagship.formats.protocol import ExportJob
from tagship.formats.shared_parts import FoundTypes
from tagship.gguf.quant_mix import QUANTS, Mix
from tagship.gguf.tensor_choices import CHOOSABLE, TensorChoice, problem_of
from tagship.runs.model_files import TOKENIZER_FILE, model_files
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import sha256_of, write_json, write_text
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.system.worker import write_reply

if TYPE_CHECKING:
    from tagship.gguf.conversion import GgufMetadata
    from tagship.gguf.imatrix import Imatrix
    from tagship.weights.merge import MergedWeights

TEMPLATE_FILE, MODELFILE = "template", "Modelfile"
# What exports share, and the file of it; the file of a mix that was found.
IMATRIX, MIX_FILE = "importance matrix", "mix.json"
# An importance matrix that was made, beside the GGUFs; the Hub's clients know by its name that it is no model.
IMATRIX_FILE = "imatrix.gguf"


def export_run(parts: Sequence[tuple[ExportJob, Path]], digests: Path, advance: Advance) -> None:
    """In the worker: export the quantization types of one run; `digests` gets the SHA-256 of their GGUFs."""
    from tagship.gguf.conversion import write_ggufs

    job, folder = parts[0]
    try:
        with staged(job, folder) as (weights, model, chat), about_its_tokenizer(job):
            written = write_ggufs(
                weights,
                model,
                {quant_of(each): into / file_name(each) for each, into in parts},
                chat_metadata([each for each, _ in parts], chat),
                advance,
                mixes={quant_of(each): mix_of(each) for each, _ in parts},
                max_shard=job.policy.max_shard,
                imatrix=imatrix_of(job),
                trust_remote_code=job.base.trust_remote_code,
            )
        write_digests(digests, written)
        for each, into in parts:
            write_ollama_files(each, chat, into)
            if made := made_imatrix(each):
                shutil.copyfile(made, into / IMATRIX_FILE)
    except OSError as error:
        raise ReleaseError(f"the ollama export could not be written: {error}") from error


def try_run(jobs: Sequence[ExportJob]) -> None:
    """In the worker: do what may fail before weights are read, for the quantization types of one run."""
    from tagship.gguf.conversion import try_conversion

    job = jobs[0]
    with (
        tempfile.TemporaryDirectory(prefix="tagship-try-") as folder,
        staged(job, Path(folder)) as (weights, model, chat),
        about_its_tokenizer(job),
    ):
        try_conversion(
            weights,
            model,
            chat_metadata([job], chat),
            mixes=[mix_of(each) for each in jobs if each.settings.mix(quant_of(each)) is None],
            imatrix=job.settings.weighed,
            trust_remote_code=job.base.trust_remote_code,
        )


@contextmanager
def staged(job: ExportJob, folder: Path) -> "Iterator[tuple[MergedWeights, Path, Chat]]":
    """The weights, what the converter reads beside them in a folder below `folder`, and how the model is talked to."""
    from tagship.gguf.llama_cpp import remote_code

    weights = open_weights(job)
    with tempfile.TemporaryDirectory(prefix=".model-", suffix=".partial", dir=folder) as staging:
        # The converter reads names into the folder's own: a random one would not give the same bytes twice.
        model = Path(staging, "model")
        model.mkdir()
        copy_model_files(job, weights, model)
        tell_added_tokens(model)
        with remote_code(job.base.trust_remote_code):
            chat = _chat_of(job, model)
        link_weights(weights, model)
        yield weights, model, chat


@contextmanager
def about_its_tokenizer(job: ExportJob) -> Iterator[None]:
    """Says of a tokenizer that the converter does not know whether the run changed it."""
    from tagship.gguf.failures import UnknownSplitting

    own, theirs = job.run.path / TOKENIZER_FILE, job.base.path / TOKENIZER_FILE
    try:
        yield
    except UnknownSplitting as error:
        if not (own.is_file() and theirs.is_file()) or sha256_of(own) == sha256_of(theirs):
            raise
        remedy = (
            f"{own} is not the base's: if no tokens were added, remove it, and the base's is used; or {error.remedy}"
        )
        raise ToolError(str(error), remedy=remedy) from error


def mix_of(job: ExportJob) -> Mix:
    """Which types the tensors of an export get."""
    quant = quant_of(job)
    if (found := found_of(job)) is None:
        return Mix(quant=quant, choices=job.settings.choices(quant))
    choices = tuple(TensorChoice(pattern, kind.upper()) for pattern, kind in found.tensors.items())
    file_type = found.record["file_type"]
    known = all(choice.type.lower() in CHOOSABLE and not problem_of(choice.pattern) for choice in choices)
    if file_type not in QUANTS or not known:  # in a release.json that is somebody else's
        raise ReleaseError(f"what is recorded of the mix {quant} names types or patterns that are none")
    return Mix(quant=file_type, choices=choices)


def found_of(job: ExportJob) -> FoundTypes | None:
    """The types that were found for an export that is a mix; None for others."""
    aim = job.settings.mix(quant_of(job))
    if aim is None:
        return None
    if job.found is not None:
        return job.found
    document = read_object(job.shared[aim.part] / MIX_FILE)
    return FoundTypes(tensors=document["tensors"], record=document["record"])


def imatrix_of(job: ExportJob) -> "Imatrix | None":
    """What weighs the quantization of an export. Raises ReleaseError for a file that is no importance matrix."""
    from tagship.gguf.imatrix import read_imatrix

    path = job.settings.imatrix or made_imatrix(job)
    return read_imatrix(path) if path else None


def made_imatrix(job: ExportJob) -> Path | None:
    """The importance matrix that the exports of a run share; None where none is made for them."""
    if job.settings.calibration is None:
        return None
    return job.shared[IMATRIX] / IMATRIX_FILE


def file_name(job: ExportJob) -> str:
    """`…-Q4_K_M.gguf`: the Hub and Ollama find a quantization type by the last label in the name."""
    return f"{job.title}-{quant_of(job).upper()}.gguf"


def write_chat(job: ExportJob, asked: Sequence[str], model: Path, said: Path) -> None:
    """In the worker: fill a folder with what lies beside the weights, and leave in a file how the model is talked to,
    with the prompts that it is asked by; code of the base is not run."""
    copy_model_files(without_code(job), open_weights(job), model)
    write_reply(said, to_builtins(_chat_of(job, model, asked)))


def _chat_of(job: ExportJob, model: Path, asked: Sequence[str] | None = None) -> Chat:
    by_hand = job.settings.template
    text = job.templates.source(by_hand) if by_hand else None
    if text is not None and quoted(text) is None:
        raise ReleaseError(
            f"no Modelfile holds templates/{by_hand}: it has letters that are not printed, or three quotes end a line",
            remedy='say them within an action, as in {{ "\\u00a0" }}',
        )
    return load_chat(model, text, job.moment, asked)


def chat_metadata(jobs: Sequence[ExportJob], chat: Chat) -> "GgufMetadata":
    """What the quantization types of one run say of themselves and of their tokenizer."""
    job = jobs[0]
    name = known_name(f"{job.title} ({job.base.id.rpartition('/')[2]})", swallowing=chat.swallows)
    return metadata_of(jobs, name, job.lineage.parent, add_bos=chat.add_bos, space_prefix=chat.space_prefix)


def write_ollama_files(job: ExportJob, chat: Chat, folder: Path) -> None:
    """What goes with the GGUF: how Ollama talks to it, and the license."""
    given = {"gguf": file_name(job), "parameters": chat.parameters, "quote": quoted}
    if chat.go is not None:
        write_text(folder / TEMPLATE_FILE, chat.go)
        given["template"] = chat.go
    write_json(folder / "params", chat.parameters)
    files = model_files(job.base, job.run.path)
    files.write(folder, files.of_the_license)
    modelfile = job.templates.render("ollama/Modelfile.j2", **given)
    write_text(folder / MODELFILE, modelfile)
