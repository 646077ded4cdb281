"""What formats made by llama.cpp's converter share: how they run it, what it is given beside the weights, and what a
GGUF is told of itself and of a tokenizer."""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from msgspec.structs import replace

from tagship.formats.protocol import ExportJob, Format
from tagship.naming.variant import Variant
from tagship.runs.base import HUGGING_FACE
from tagship.runs.model_files import TOKENIZER_CONFIG, TOKENIZER_FILE, model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import write_json
from tagship.system.installation import how_to_install
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.system.worker import any_worker, read_reply, write_reply
from tagship.verify.questions import Limits
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.tied_embeddings import is_vocabulary

if TYPE_CHECKING:
    from tagship.gguf.conversion import GgufMetadata
    from tagship.weights.merge import MergedWeights

_PHI3 = re.compile("phi-?3")
_EXPERT = re.compile(r"\.experts\.\d+\.")
# How SentencePiece spells a space.
_SPACE = "\u2581"
T = TypeVar("T")
# torch, transformers, a compiler for K-quants, and a large vocabulary; a Phi-3-mini takes 500 MB in all.
_CONVERTER_MEMORY = 600 << 20


class GgufFormat(Format):
    """A format whose exports the converter makes, and llama.cpp answers for. The converter and what it imports are not
    ours, so it runs in a worker.

    `kl` and `top1` are, by quantization type, the mean KL in nats that it may cost, and the least share of tokens with
    the same likeliest one.
    """

    runtime = "llama_cpp"
    modules = ("torch", "transformers", "conversion", "gguf", "xllamacpp")
    install = how_to_install("gguf")
    kl: ClassVar[Mapping[str, float]]
    top1: ClassVar[Mapping[str, float]]

    @property
    @abstractmethod
    def try_run(self) -> Callable[[Sequence[ExportJob]], None]:
        """A function of a module that does, in the worker, what may fail before weights are read, for the types of one
        run."""

    @property
    @abstractmethod
    def export_run(self) -> Callable[[Sequence[tuple[ExportJob, Path]], Path, Advance], None]:
        """A function of a module that exports, in the worker, the types of one run into their folders, and leaves in a
        file the digests of what it wrote (`write_digests`)."""

    def examine(self, jobs: Sequence[ExportJob]) -> None:
        with any_worker(f"examine {self.name}") as worker:
            for of_run in _by_run(jobs, lambda job: job.run.path):
                worker.call("the converter ended", self.try_run, of_run)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> Mapping[Path, str]:
        digests: dict[Path, str] = {}
        # Encoding takes many times as long as reading the base: runs are made one after another.
        with any_worker(f"export {self.name}") as worker:
            for of_run in _by_run(parts, lambda part: part[0].run.path):
                left = worker.folder / "digests.json"
                worker.call(f"the {self.name} export ended", self.export_run, of_run, left, advance=advance)
                digests |= {Path(path): str(digest) for path, digest in read_reply(left).items()}
        return digests

    def limits(self, variant: Variant) -> Limits:
        quant = str(variant.quant)
        return Limits(kl=self.kl[quant], top1=self.top1[quant], same_tokens=False, key=f"[verify.limits.{quant}]")


def write_digests(file: Path, digests: Mapping[Path, str]) -> None:
    """Leave, in the worker, the SHA-256 of what was digested while it was written, for `GgufFormat.export`."""
    write_reply(file, {str(path): digest for path, digest in digests.items()})


def quant_of(job: ExportJob) -> str:
    """The quantization type of an export that has one."""
    assert job.variant.quant is not None
    return job.variant.quant


def metadata_of(jobs: Sequence[ExportJob], name: str, parent: str, **told: bool | None) -> "GgufMetadata":
    """What the types of one run say of themselves, each where it will be itself: a name, and the repo of the model that
    they are made of; `told` is what the runtime is told of a tokenizer."""
    from tagship.gguf.conversion import GgufMetadata

    job = jobs[0]
    organization, _, model = parent.rpartition("/")
    general = {
        "general.name": name,
        "general.version": job.version,
        "general.quantized_by": job.namespace,
        "general.base_models": [
            {"name": model, "organization": organization, "repo_url": f"{HUGGING_FACE}/{parent}"},
        ],
    }
    return GgufMetadata(
        general={key: value for key, value in general.items() if value is not None},
        license=job.base.license_name or job.base.license,
        # Without a version it has the time in it, under which an export that was killed is not resumed.
        pages={quant_of(each): f"{HUGGING_FACE}/{each.repo_id}" for each in jobs if each.version},
        **told,
    )


def memory_to_convert(weights: "MergedWeights") -> int:
    """The most memory that a GGUF of base + adapter takes while it is made, in bytes, by headers alone."""
    elements = {name: output.source.entry.elements for name, output in weights.outputs.items()}
    # What the converter permutes, splits or transposes is held in the base's 16 bits and twice in float32.
    # Embeddings and heads, the largest of many models, it takes as they are; tensors of one expert it stacks.
    held = max((n for name, n in elements.items() if not (is_vocabulary(name) or _EXPERT.search(name))), default=0)
    return _CONVERTER_MEMORY + 10 * held + weights.prepared


def _by_run(parts: Sequence[T], path_of: Callable[[T], Path]) -> list[list[T]]:
    """Exports, those of one run together."""
    runs: dict[Path, list[T]] = {}
    for part in parts:
        runs.setdefault(path_of(part), []).append(part)
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
