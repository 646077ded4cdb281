"""lora-gguf: the adapter as a GGUF; llama.cpp (`--lora`) and Ollama (`ADAPTER`) load it beside a GGUF of its base."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats.differences import NotAsExported
from tagship.formats.gguf_model import GgufFormat, check_tokenizer, memory_to_convert, quant_of
from tagship.formats.lora_gguf.beside import (
    MODELFILE,
    TEMPLATE_FILE,
    base_file,
    check_beside,
    check_header,
    render,
    write_beside,
)
from tagship.formats.lora_gguf.export import WORDS, base_type, export_run, file_name, try_run, write_base
from tagship.formats.lora_gguf.refusals import check_base, check_changes
from tagship.formats.model_folder import open_weights
from tagship.formats.protocol import ADAPTED, CardFacts, ExportJob, Footprint, Usage
from tagship.gguf.architectures import check_architecture
from tagship.naming.variant import Variant
from tagship.runs.model_files import CONFIG_FILE
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.system.toml_reader import Reader
from tagship.system.worker import any_worker, read_reply
from tagship.verify.questions import Questions
from tagship.verify.runtimes.protocol import Subject

_DEFAULT = "f16"
# Bytes of a number. What does not fill q8_0's blocks of 32, as B of a smaller rank, has two.
_BYTES = {"f16": 2.0, "bf16": 2.0, "f32": 4.0, "q8_0": 2.0}
# A header; and of a base's GGUF its vocabulary.
_HEADER, _VOCABULARY = 64 << 10, 32 << 20
# Mean KL in nats, and the least share of tokens with the same likeliest one: docs/quality.md has what was measured.
_KL = {"f16": 0.001, "bf16": 0.001, "f32": 0.001, "q8_0": 0.002}
_TOP1 = {"f16": 0.98, "bf16": 0.98, "f32": 0.98, "q8_0": 0.97}
_SERVES = {
    "f16": "all that the adapter holds, but for very small numbers",
    "bf16": "rounded to bf16, for hardware with it",
    "f32": "the adapter as it was trained, widened",
    "q8_0": "half the size where the rank is a multiple of 32",
}
# What Ollama and llama.cpp pull a GGUF from the Hub by: a repo, and perhaps a type.
_ON_THE_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*(?::\w[\w.-]*)?", re.ASCII)


class LoraGgufSettings(Struct, frozen=True, kw_only=True):
    """`[formats.lora-gguf]`: the types, and the repo on the Hub that has GGUFs of the base, with the type of one where
    that is meant (`org/base-GGUF:Q4_K_M`); None where people are to have one of their own."""

    quants: tuple[str, ...]
    base_gguf: str | None


class _LoraGguf(GgufFormat):
    name = "lora-gguf"
    quants = tuple(WORDS)
    shared_label = "lora-gguf"
    whole = False
    kl, top1 = _KL, _TOP1
    card = CardFacts(library_name="gguf", relation=ADAPTED, tags=("gguf", "lora", "llama.cpp"), text_only=True)

    def configure(self, table: Reader, export: Reader) -> LoraGgufSettings:
        quants = self.named(table, "quants", _DEFAULT)
        base_gguf = table.optional_text("base_gguf")
        if base_gguf is not None and not _ON_THE_HUB.fullmatch(base_gguf):
            table.note(
                "base_gguf", "is no repo on the Hub, with a type or without: org/base-GGUF, org/base-GGUF:Q4_K_M"
            )
        return LoraGgufSettings(quants=quants, base_gguf=base_gguf)

    def settings_of(self, settings: LoraGgufSettings, variant: Variant) -> LoraGgufSettings:
        return replace(settings, quants=())

    def variants(self, settings: LoraGgufSettings, quants: Sequence[str]) -> tuple[Variant, ...]:
        return self.variants_of(settings.quants[0], quants or settings.quants, f"{{}}-{self.name}")

    def shared_path(self, variant: Variant, path: str) -> str:
        return f"{path}-{WORDS[str(variant.quant)]}" if path == MODELFILE else path

    def serves(self, variant: Variant) -> str:
        return f"llama.cpp and Ollama, beside a GGUF of the base; {_SERVES[str(variant.quant)]}"

    def footprint(self, job: ExportJob) -> Footprint:
        check_base(job)
        weights = open_weights(job)
        check_changes(job, weights)
        check_architecture(read_object(job.base.path / CONFIG_FILE))  # refused now rather than after hours
        check_tokenizer(job, self.name)
        adapter = weights.adapter.weights
        numbers = sum(entry.elements for entry in adapter.tensors.values())
        return Footprint(
            disk=int(numbers * _BYTES[quant_of(job)]) + _HEADER,
            # Of the base's GGUF, too: of the adapter one tensor is in memory.
            memory=memory_to_convert(weights),
            work=sum(entry.nbytes for entry in adapter.tensors.values()),
            beside=weights.base.nbytes + _VOCABULARY,
        )

    @property
    def try_run(self) -> Callable[[Sequence[ExportJob]], None]:
        return try_run

    @property
    def export_run(self) -> Callable[[Sequence[tuple[ExportJob, Path]], Path, Advance], None]:
        return export_run

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> Mapping[Path, str]:
        digests = super().export(parts, advance)
        for job, folder in parts:
            write_beside(job, folder)
        return digests

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        check_beside(job, folder)
        adapter = folder / file_name(job)
        if not adapter.is_file():
            raise NotAsExported(f"{folder} has no {adapter.name}", remedy="export it again")
        check_header(job, adapter)
        with any_worker("prompts of lora-gguf") as worker:
            said = worker.folder / "rendered.json"
            worker.call("the chat template ended", render, job, questions, said)
            prompts = tuple(read_reply(said))
        return Subject(what="the adapter's GGUF", model=job.base.path, adapter=adapter, rendered=prompts)

    def beside(self, job: ExportJob, subject: Subject, folder: Path) -> Subject:
        quant = base_type(job)
        base = folder / f"base-{hashlib.sha256(str(job.base.path).encode()).hexdigest()[:16]}-{quant}.gguf"
        if not base.exists():
            with any_worker("base of lora-gguf") as worker:
                worker.call("a GGUF of the base could not be made", write_base, job, base)
        return replace(subject, model=base, how=f"on the base as a GGUF in {quant}")

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        get = _download(job)
        server = f"{get}\n{_llama_line(job, files, 'llama-server')}"
        llama = Usage(title="llama.cpp, as a server", language="shell", code=server)
        talk = Usage(title="llama.cpp, in a terminal", language="shell", code=_llama_line(job, files, "llama-cli"))
        modelfile = next((name for name in files if name.startswith(MODELFILE)), None)
        if modelfile is None:
            return llama, talk
        name = job.title.lower()
        create = f"{get}\nollama create {name} -f {modelfile}\nollama run {name}"
        return llama, talk, Usage(title="Ollama", language="shell", code=create)

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        return _llama_line(job, files, "llama-server")


FORMAT = _LoraGguf()


def _download(job: ExportJob) -> str:
    pinned = f" --revision {job.revision}" if job.revision else ""
    return f"hf download {job.repo_id}{pinned} --local-dir ."


def _llama_line(job: ExportJob, files: Sequence[str], program: str) -> str:
    settings: LoraGgufSettings = job.settings
    base = f"--hf-repo {settings.base_gguf}" if settings.base_gguf else f"--model {base_file(job)}"
    template = f" --jinja --chat-template-file {TEMPLATE_FILE}" if TEMPLATE_FILE in files else ""
    return f"{program} {base} --lora {_adapter_in(job, files)}{template}"


def _adapter_in(job: ExportJob, files: Sequence[str]) -> str:
    named = file_name(job)
    return named if named in files else next((name for name in files if name.endswith(".gguf")), named)
