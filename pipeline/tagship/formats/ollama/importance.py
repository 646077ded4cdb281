"""An importance matrix made here: of the merged model, unquantized, in llama.cpp's own graph along a text that ships.

The text is another than the one that exports are measured by: a type that was weighed along the very text of its
measurement would look better than it is. `text/calibration.jsonl` was written for this purpose, and is under the
license of this project.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from tagship.formats.ollama.export import IMATRIX_FILE, about_its_tokenizer, chat_metadata, staged
from tagship.formats.protocol import ExportJob, Footprint
from tagship.runs.base_folder import vocabulary_rows
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder
from tagship.system.progress import Advance
from tagship.verify.measured_text import Passage, read_text
from tagship.verify.rendering import render_passage

if TYPE_CHECKING:
    from tagship.gguf.activations import Sums
    from tagship.verify.runtimes.llama_api import LlamaModel
    from tagship.weights.merge import MergedWeights

SHIPPED = Path(__file__).parent / "text" / "calibration.jsonl"
# Tokens of a piece, as llama-imatrix has them, where the model reads so many at once; and how many pieces are read at
# most of a text of somebody's own.
_CHUNK, _MOST_CHUNKS = 512, 128
# The types that take nothing from merged weights of these dtypes, and what those take in bytes for each weight.
_UNQUANTIZED = {"BF16": "bf16", "F16": "f16"}
_BYTES = {"bf16": 2, "f16": 2, "f32": 4}
# Letters of a token, in a text of several kinds; what is computed a second on two cores, for each number of the model
# and each token (190M numbers in f16 took 320 seconds of a busy processor for 7,168 tokens); and the bytes a second
# that a disk gives or takes, where it is waited for.
_LETTERS, SPEED, DISK = 3.6, 20e9, 0.8e9
# Beside the weights, which are mapped: the library, a piece's activations, and two blocks of logits.
MEMORY = 1 << 30


def make_imatrix(job: ExportJob, folder: Path, advance: Advance) -> None:
    """In the worker: write `imatrix.gguf` into a folder. `advance` counts what `imatrix_footprint` has as work.

    Raises ReleaseError for a text that is too short or cannot be read, and for a model that computes what is not
    finite; and as an export.
    """
    from tagship.gguf.imatrix import write_imatrix

    passages = read_text(_text_of(job))
    try:
        with scratch_folder("measured", folder) as scratch:
            path, text = _unquantized(job, passages, scratch, advance)
            measured = measure(path, text, advance)
            write_imatrix(
                folder / IMATRIX_FILE,
                measured.sums,
                dataset=_text_of(job).name,
                chunks=measured.chunks,
                chunk=measured.chunk,
            )
    except OSError as error:
        raise ReleaseError(f"the importance matrix could not be made: {error}") from error


class Measurement(Struct, frozen=True, kw_only=True):
    """Sums by the names of tensors, over `chunks` pieces of a text, each of `chunk` tokens."""

    sums: "Mapping[str, Sums]"
    chunks: int
    chunk: int


def measure(gguf: Path, text: str, advance: Advance) -> Measurement:
    """What the matrices of a GGUF are multiplied with along a text. `advance` counts the file's bytes.

    Raises ReleaseError for a text that is too short, and for a model that computes what is not finite.
    """
    from tagship.gguf.activations import Activations
    from tagship.verify.runtimes.llama_api import LlamaModel

    activations, size = Activations(), gguf.stat().st_size
    with LlamaModel(gguf, context=_CHUNK, watch=activations.callback) as model:
        chunks = _pieces(model, text)
        for done, chunk in enumerate(chunks):
            try:
                model.compute(chunk)
            finally:
                activations.check()  # what llama.cpp says of it is only that it was told to stop
            advance(size * (done + 1) // len(chunks) - size * done // len(chunks))
    if not activations.sums:
        raise ReleaseError(
            "llama.cpp computes no layer of this model that an importance matrix could be made of",
            remedy='leave [export] imatrix = "make" out',
        )
    return Measurement(sums=activations.sums, chunks=len(chunks), chunk=len(chunks[0]))


def imatrix_footprint(job: ExportJob, weights: "MergedWeights", memory: int) -> Footprint:
    """What making it takes, where an export takes `memory`: the unquantized GGUF is on the disk meanwhile."""
    size = bytes_unquantized(weights)
    logits = 4 * (vocabulary_rows(job.base.path) or 0)
    seconds = 2 * weights.elements * _tokens_of(job) / SPEED + 2 * size / DISK
    return Footprint(
        disk=int(size * 1.1),
        memory=memory + MEMORY + logits,
        work=2 * size,
        seconds=(seconds / 2, seconds * 2),
    )


def _tokens_of(job: ExportJob) -> float:
    """About how many tokens of the text are read."""
    letters = sum(len(passage.plain) for passage in read_text(_text_of(job)))
    return min(letters / _LETTERS, _CHUNK * _MOST_CHUNKS)


def _text_of(job: ExportJob) -> Path:
    text = job.settings.calibration
    assert isinstance(text, Path)
    return text


def bytes_unquantized(weights: "MergedWeights") -> int:
    """What such a GGUF takes, but for its header."""
    return weights.elements * _BYTES[unquantized_type(weights)]


def unquantized_type(weights: "MergedWeights") -> str:
    """The type of a GGUF that takes nothing from merged weights."""
    return _UNQUANTIZED.get(weights.main_dtype, "f32")


def _unquantized(job: ExportJob, passages: Iterable[Passage], scratch: Path, advance: Advance) -> tuple[Path, str]:
    """The merged model as a GGUF in `scratch`, and the text as its chat template has it."""
    from transformers import AutoTokenizer

    from tagship.gguf.conversion import write_ggufs

    path = scratch / "model.gguf"
    with staged(job, scratch) as (weights, model, chat), about_its_tokenizer(job):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=job.base.trust_remote_code)
        text = "\n\n".join(render_passage(tokenizer, passage) or passage.plain for passage in passages)
        write_ggufs(
            weights,
            model,
            {unquantized_type(weights): path},
            chat_metadata([job], chat),
            advance,
            trust_remote_code=job.base.trust_remote_code,
        )
    return path, text


def _pieces(model: "LlamaModel", text: str) -> list[list[int]]:
    """A text in pieces of as many tokens, as llama-imatrix divides it: what is left at its end is not read, and where a
    model has a token that begins texts, each piece begins with that."""
    tokens = model.tokens(text)
    size = min(_CHUNK, model.trained_context)
    chunks = [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)][:_MOST_CHUNKS]
    if not chunks:
        raise ReleaseError(
            f"the text for an importance matrix has {len(tokens)} tokens, and {size} is the least",
            remedy="name a longer text as [export] imatrix_text, some 10,000 tokens of it, or leave it out",
        )
    if model.beginning is None:
        return chunks
    return [[model.beginning, *chunk[1:]] for chunk in chunks]
