"""ollama: one GGUF, with the Modelfile, template and parameters that Ollama runs it by.

`template` and `params` beside the GGUF are what `ollama run hf.co/…` reads; the Modelfile says
the same for `ollama create`. All of it comes from the model's own chat template and generation
config.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.formats.model_folder import copy_model_files, open_weights
from tagship.formats.ollama.chat import Chat, load_chat
from tagship.formats.ollama.modelfile import quoted
from tagship.formats.ollama.name_rules import OLLAMA
from tagship.formats.ollama.quant_facts import BITS, KL, SERVES, seconds_to_encode
from tagship.formats.protocol import CardFacts, ExportJob, Footprint, Format, Usage
from tagship.gguf.architectures import check_architecture
from tagship.gguf.quant_mix import QUANTS
from tagship.naming.variant import Variant
from tagship.runs.base import HUGGING_FACE
from tagship.runs.model_files import CONFIG_FILE, TOKENIZER_CONFIG, TOKENIZER_FILE, model_files
from tagship.system.errors import ReleaseError, ToolError, UsageError
from tagship.system.files import sha256_of, write_json, write_text
from tagship.system.installation import how_to_install
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.system.toml_reader import Reader
from tagship.system.worker import Worker
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.tied_embeddings import is_vocabulary

if TYPE_CHECKING:
    from tagship.gguf.conversion import GgufMetadata
    from tagship.gguf.imatrix import Imatrix
    from tagship.weights.merge import MergedWeights

_DEFAULT = ("q4_k_m",)
_TEMPLATE = "template"
_EXPERT = re.compile(r"\.experts\.\d+\.")
# torch, transformers, a compiler for K-quants, and a large vocabulary; a Phi-3-mini takes 500 MB in all.
_CONVERTER_MEMORY = 600 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaSettings:
    """`[formats.ollama]`: the quantization types; and where no template can be derived from the
    model's own, the name of one in templates/ that is written in Go's language. `imatrix` is the importance matrix
    that quantization is weighed by (`[export] imatrix`, `--imatrix`)."""

    quants: tuple[str, ...]
    template: str | None
    imatrix: Path | None


class _Ollama(Format):
    name = "ollama"
    runtime = "llama_cpp"
    modules = ("torch", "transformers", "conversion", "gguf", "xllamacpp")
    install = how_to_install("gguf")
    quants = tuple(QUANTS)
    name_rules = (OLLAMA,)
    card = CardFacts(library_name="gguf", relation="quantized", tags=("gguf", "llama.cpp", "ollama"), text_only=True)

    def configure(self, table: Reader, export: Reader) -> OllamaSettings:
        quants = table.choices("quants", _DEFAULT, self.quants)
        if not table.texts("quants", _DEFAULT):
            table.note("quants", "is empty: name at least one, or leave the format out")
        return OllamaSettings(
            quants=quants or _DEFAULT,
            template=table.optional_text("template"),
            imatrix=export.optional_path("imatrix"),
        )

    def with_options(self, settings: OllamaSettings, given: Mapping[str, str]) -> OllamaSettings:
        if "imatrix" in given:
            settings = replace(settings, imatrix=Path(given["imatrix"]).absolute())
        if settings.imatrix and not settings.imatrix.is_file():
            raise UsageError(
                f"there is no importance matrix {settings.imatrix}",
                remedy="name another with --imatrix or [export] imatrix",
            )
        return settings

    def inputs(self, settings: OllamaSettings) -> tuple[Path, ...]:
        return (settings.imatrix,) if settings.imatrix else ()

    def variants(self, settings: OllamaSettings, quants: Sequence[str]) -> tuple[Variant, ...]:
        return tuple(
            Variant(
                quant=quant,
                # Quantization types must not share an export folder; the policy's first has the plain name.
                kind="ollama" if quant == settings.quants[0] else f"ollama_{quant}",
                prefix=f"ollama-{quant}",
                label=f"{quant}-gguf",
            )
            for quant in quants or settings.quants
        )

    def serves(self, variant: Variant) -> str:
        return f"GGUF for Ollama and llama.cpp: {SERVES[str(variant.quant)]}"

    def footprint(self, job: ExportJob) -> Footprint:
        weights = open_weights(job)
        elements = {name: output.source.entry.elements for name, output in weights.outputs.items()}
        size = int(sum(elements.values()) * BITS[_quant(job)] / 8 * 1.1)
        # What the converter permutes, splits or transposes is held in the base's 16 bits and twice in float32.
        # Embeddings and heads, the largest of many models, it takes as they are; tensors of one expert it stacks.
        held = max((n for name, n in elements.items() if not (is_vocabulary(name) or _EXPERT.search(name))), default=0)
        memory = _CONVERTER_MEMORY + 10 * held + weights.prepared
        check_architecture(read_object(job.base.path / CONFIG_FILE))  # refused now rather than after hours
        _check_tokenizer(job)
        _imatrix(job)
        seconds = seconds_to_encode(_quant(job), sum(elements.values()), size)
        return Footprint(disk=size, memory=memory, work=size, seconds=seconds)

    def examine(self, jobs: Sequence[ExportJob]) -> None:
        with Worker("examine ollama") as worker:
            for job in {job.run.path: job for job in jobs}.values():
                worker.call("the converter ended", _try_run, job)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
        # Encoding takes many times as long as reading the base: runs are made one after another.
        with Worker("export ollama") as worker:  # the converter and what it imports are not ours
            for of_run in _by_run(parts):
                worker.call("the ollama export ended", _export_run, of_run, advance=advance)

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        with tempfile.TemporaryDirectory(prefix="tagship-chat-") as staging:
            copy_model_files(_without_code(job), open_weights(job), Path(staging))
            chat = _chat(job, Path(staging))
        template = folder / _TEMPLATE
        if chat.go != (template.read_text(encoding="utf-8") if template.is_file() else None):
            raise ReleaseError(f"{template} is not the model's chat template", remedy="export it again")
        rendered = tuple(chat.prompt(prompt) for prompt in questions.prompts)
        first = folder / _gguf_files(path.name for path in folder.iterdir())[0]
        notes = (f"Ollama takes the template in the GGUF: {chat.left_out}",) if chat.left_out else ()
        return Subject(what="the GGUF", model=first, rendered=rendered, prompts=chat.prompts(), notes=notes)

    def limits(self, variant: Variant, kl: Mapping[str, float]) -> Limits:
        assert variant.quant is not None
        return Limits(kl=kl.get(variant.quant) or KL[variant.quant], same_tokens=False)

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        first, *more = _gguf_files(files)
        run = Usage(title="Ollama", language="shell", code=self.use_line(job, files))
        llama = Usage(title="llama.cpp", language="shell", code=_llama_line(job, first))
        create = f"ollama create {job.title.lower()} -f Modelfile\nollama run {job.title.lower()}"
        folder = "Ollama, in the downloaded folder"
        if more:
            join = f"llama-gguf-split --merge {first} {_file_name(job)}\n"
            joined = Usage(title=f"{folder}, after joining the files", language="shell", code=join + create)
            return llama, joined
        return run, Usage(title=folder, language="shell", code=create), llama

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        first, *more = _gguf_files(files)
        # Ollama does not run divided files.
        return _llama_line(job, first) if more else f"ollama run hf.co/{job.repo_id}:{_quant(job).upper()}"


FORMAT = _Ollama()


def _export_run(parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
    """In the worker: export the quantization types of one run."""
    from tagship.gguf.conversion import write_ggufs

    job, folder = parts[0]
    try:
        with _staged(job, folder) as (weights, model, chat), _about_its_tokenizer(job):
            write_ggufs(
                weights,
                model,
                {_quant(each): into / _file_name(each) for each, into in parts},
                _metadata(job, chat),
                advance,
                max_shard=job.policy.max_shard,
                imatrix=_imatrix(job),
                trust_remote_code=job.base.trust_remote_code,
            )
        for each, into in parts:
            _write_ollama_files(each, chat, into)
    except OSError as error:
        raise ReleaseError(f"the ollama export could not be written: {error}") from error


def _try_run(job: ExportJob) -> None:
    """In the worker: do what may fail before weights are read."""
    from tagship.gguf.conversion import try_conversion

    with (
        tempfile.TemporaryDirectory(prefix="tagship-try-") as folder,
        _staged(job, Path(folder)) as (weights, model, chat),
        _about_its_tokenizer(job),
    ):
        try_conversion(weights, model, _metadata(job, chat), trust_remote_code=job.base.trust_remote_code)


@contextmanager
def _staged(job: ExportJob, folder: Path) -> "Iterator[tuple[MergedWeights, Path, Chat]]":
    """The weights, what the converter reads beside them in a folder below `folder`, and how the model is talked to."""
    from tagship.gguf.llama_cpp import remote_code

    weights = open_weights(job)
    with tempfile.TemporaryDirectory(prefix=".model-", suffix=".partial", dir=folder) as staging:
        # The converter reads names into the folder's own: a random one would not give the same bytes twice.
        model = Path(staging, "model")
        model.mkdir()
        copy_model_files(job, weights, model)
        _tell_added_tokens(model)
        with remote_code(job.base.trust_remote_code):
            chat = _chat(job, model)
        for shard in weights.base.shards:
            (model / shard.path.name).symlink_to(shard.path.resolve())
        _link_index(weights, model)
        yield weights, model, chat


@contextmanager
def _about_its_tokenizer(job: ExportJob) -> Iterator[None]:
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


def _without_code(job: ExportJob) -> ExportJob:
    """The same, in this process, where code of the base is never run."""
    return replace(job, base=replace(job.base, trust_remote_code=False))


def _check_tokenizer(job: ExportJob) -> None:
    """Raise ReleaseError for a tokenizer that only code of the base reads: prompts are made without."""
    files = model_files(job.base, job.run.path)
    if files.tokenizer_code and TOKENIZER_FILE not in files.names():
        raise ReleaseError(
            f"the tokenizer of {job.base.id} is read by code of its own alone ({', '.join(files.tokenizer_code)}), "
            "and the ollama format needs a tokenizer.json",
            remedy="put a tokenizer.json beside the run's adapter, or leave the ollama format out",
        )


def _tell_added_tokens(model: Path) -> None:
    """Say the added tokens where the converter looks for them beside a tokenizer.model: transformers 5 has them in
    tokenizer.json alone."""
    config = read_object(model / TOKENIZER_CONFIG)
    if not (model / "tokenizer.model").is_file() or config.get("added_tokens_decoder"):
        return
    added = read_object(model / TOKENIZER_FILE).get("added_tokens") or ()
    decoder = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added}
    if decoder:
        write_json(model / TOKENIZER_CONFIG, config | {"added_tokens_decoder": decoder})


def _imatrix(job: ExportJob) -> "Imatrix | None":
    from tagship.gguf.imatrix import read_imatrix

    return read_imatrix(job.settings.imatrix) if job.settings.imatrix else None


def _quant(job: ExportJob) -> str:
    assert job.variant.quant is not None
    return job.variant.quant


def _file_name(job: ExportJob) -> str:
    """`…-Q4_K_M.gguf`: the Hub and Ollama find a quantization type by the last label in the name."""
    return f"{job.title}-{_quant(job).upper()}.gguf"


def _gguf_files(files: Iterable[str]) -> list[str]:
    """The names of an export's GGUF: one, or the parts of a divided one in order."""
    return sorted(name for name in files if name.endswith(".gguf"))


def _llama_line(job: ExportJob, file: str) -> str:
    return f"llama-cli --hf-repo {job.repo_id} --hf-file {file}"


def _by_run(parts: Sequence[tuple[ExportJob, Path]]) -> list[list[tuple[ExportJob, Path]]]:
    runs: dict[Path, list[tuple[ExportJob, Path]]] = {}
    for job, folder in parts:
        runs.setdefault(job.run.path, []).append((job, folder))
    return list(runs.values())


def _chat(job: ExportJob, model: Path) -> Chat:
    by_hand = job.settings.template
    text = job.templates.source(by_hand) if by_hand else None
    if text is not None and quoted(text) is None:
        raise ReleaseError(
            f"no Modelfile holds templates/{by_hand}: it has letters that are not printed, or three quotes end a line",
            remedy='say them within an action, as in {{ "\\u00a0" }}',
        )
    return load_chat(model, text, job.moment)


def _link_index(weights: "MergedWeights", model: Path) -> None:
    if weights.base.index is not None:
        (model / INDEX_FILE).symlink_to((weights.base.folder / INDEX_FILE).resolve())


def _metadata(job: ExportJob, chat: Chat) -> "GgufMetadata":
    from tagship.gguf.conversion import GgufMetadata

    organization, _, name = job.lineage.parent.rpartition("/")
    parent = {"name": name, "organization": organization, "repo_url": f"{HUGGING_FACE}/{job.lineage.parent}"}
    general = {
        # With the base's name: llama.cpp knows by "phi-3" in it that special tokens swallow white space.
        "general.name": f"{job.title} ({job.base.id.rpartition('/')[2]})",
        "general.version": job.version,
        "general.quantized_by": job.namespace,
        "general.repo_url": f"{HUGGING_FACE}/{job.repo_id}",
        "general.base_models": [parent],
    }
    return GgufMetadata(
        general={key: value for key, value in general.items() if value is not None},
        license=job.base.license_name or job.base.license,
        add_bos=chat.add_bos,
        space_prefix=chat.space_prefix,
    )


def _write_ollama_files(job: ExportJob, chat: Chat, folder: Path) -> None:
    given = {"gguf": _file_name(job), "parameters": chat.parameters, "quote": quoted}
    if chat.go is not None:
        write_text(folder / _TEMPLATE, chat.go)
        given["template"] = chat.go
    write_json(folder / "params", chat.parameters)
    files = model_files(job.base, job.run.path)
    files.write(folder, files.of_the_license)
    modelfile = job.templates.render("ollama/Modelfile.j2", **given)
    write_text(folder / "Modelfile", modelfile)
