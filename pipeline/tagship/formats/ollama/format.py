"""ollama: one GGUF, with the Modelfile, template and parameters that Ollama runs it by.

`template` and `params` beside the GGUF are what `ollama run hf.co/…` reads; the Modelfile says
the same for `ollama create`. All of it comes from the model's own chat template and generation
config.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from tagship.formats.differences import NotAsExported
from tagship.formats.gguf_model import GgufFormat, check_tokenizer, memory_to_convert, quant_of
from tagship.formats.model_folder import check_model_files, open_weights
from tagship.formats.ollama import usage
from tagship.formats.ollama.chat import Chat
from tagship.formats.ollama.export import (
    IMATRIX,
    IMATRIX_FILE,
    MODELFILE,
    TEMPLATE_FILE,
    export_run,
    found_of,
    imatrix_of,
    mix_of,
    try_run,
    write_chat,
    write_ollama_files,
)
from tagship.formats.ollama.finding import COSTS, costs_footprint, find_mix, measure_types, mix_footprint
from tagship.formats.ollama.header_checks import check_headers
from tagship.formats.ollama.importance import SHIPPED, imatrix_footprint, make_imatrix
from tagship.formats.ollama.mix_search import check_bits, told_of
from tagship.formats.ollama.mixes import read_mixes
from tagship.formats.ollama.name_rules import OLLAMA
from tagship.formats.ollama.options import MAKE
from tagship.formats.ollama.quant_facts import KL, OF_A_MIX, SERVES, TOP1, limits_of_mix, seconds_to_encode
from tagship.formats.ollama.settings import OllamaSettings, read_tensors
from tagship.formats.ollama.size import gguf_size
from tagship.formats.ollama.usage import gguf_files
from tagship.formats.protocol import CardFacts, ExportJob, Footprint, Usage
from tagship.formats.shared_parts import FoundTypes, SharedPart
from tagship.gguf.architectures import check_architecture
from tagship.gguf.layout import foreseen_tensors
from tagship.gguf.quant_mix import QUANTS
from tagship.gguf.tensor_choices import TensorChoice
from tagship.naming.variant import Variant
from tagship.runs.model_files import CONFIG_FILE
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import scratch_folder
from tagship.system.json_files import read_object
from tagship.system.machine import free_disk
from tagship.system.modules import are_installed
from tagship.system.progress import Advance, silent
from tagship.system.toml_reader import Reader
from tagship.system.worker import any_worker, read_reply
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.tied_embeddings import is_head

_DEFAULT = "q4_k_m"
# What drafts may be in, what is nearest to the model first. ggml searches for no scale in these, and so encodes them 20
# times as fast as those of q4_k_m, which are no nearer than q5_0.
_DRAFTS = ("Q8_0", "Q5_0", "Q4_0")


class _Ollama(GgufFormat):
    name = "ollama"
    kl, top1 = KL, TOP1
    quants = tuple(QUANTS)
    own_quants = "[formats.ollama.mixes.{}]"
    name_rules = (OLLAMA,)
    shared_label = "gguf"
    card = CardFacts(library_name="gguf", relation="quantized", tags=("gguf", "llama.cpp", "ollama"), text_only=True)

    def configure(self, table: Reader, export: Reader) -> OllamaSettings:
        made, text = export.optional_text("imatrix") == MAKE, export.optional_path("imatrix_text")
        if text and not made:
            export.note("imatrix_text", f'is what an importance matrix is made of: it goes with imatrix = "{MAKE}"')
        mixes = read_mixes(table.table("mixes"))
        # Who asks for mixes alone gets no type beside them.
        asked = bool(table.texts("quants", (_DEFAULT,))) and table.has("quants")
        quants = self.named(table, "quants", _DEFAULT) if asked or not mixes else ()
        tensors = read_tensors(table.table("tensors"))
        if tensors and not quants:
            table.note(
                "tensors",
                "chooses types in quantization types, of which there is none beside the mixes: "
                f'quants = ["{_DEFAULT}"]',
            )
        return OllamaSettings(
            quants=quants,
            mixes=mixes,
            tensors=tensors,
            template=table.optional_text("template"),
            imatrix=None if made else export.optional_path("imatrix"),
            calibration=(text or SHIPPED) if made else None,
        )

    def with_options(self, settings: OllamaSettings, given: Mapping[str, str]) -> OllamaSettings:
        if given.get("imatrix") == MAKE:
            settings = replace(settings, imatrix=None, calibration=settings.calibration or SHIPPED)
        elif "imatrix" in given:
            settings = replace(settings, imatrix=Path(given["imatrix"]).absolute(), calibration=None)
        if settings.imatrix and not settings.imatrix.is_file():
            raise UsageError(
                f"there is no importance matrix {settings.imatrix}",
                remedy=f"name another with --imatrix or [export] imatrix, or have it made: {MAKE}",
            )
        if settings.calibration and not settings.calibration.is_file():
            raise UsageError(
                f"there is no text {settings.calibration} to make an importance matrix of",
                remedy="name another as [export] imatrix_text, or leave it out for the one that ships",
            )
        return settings

    def settings_of(self, settings: OllamaSettings, variant: Variant) -> OllamaSettings:
        return settings.of(str(variant.quant))

    def inputs(self, settings: OllamaSettings) -> tuple[Path, ...]:
        return tuple(filter(None, (settings.imatrix, settings.calibration)))

    def aim(self, settings: OllamaSettings, variant: Variant) -> str | None:
        aim = settings.mix(variant.quant)
        return None if aim is None else str(aim)

    def shares(self, settings: OllamaSettings, variant: Variant) -> tuple[SharedPart, ...]:
        matrix = (SharedPart(what=IMATRIX),) if settings.calibration else ()
        aim = settings.mix(variant.quant)
        if aim is None:
            return matrix
        costs = SharedPart(what=COSTS, finds=True)
        return (*matrix, costs, SharedPart(what=aim.part, made_by=str(aim), finds=True))

    def share(self, job: ExportJob, part: SharedPart, folder: Path, advance: Advance) -> None:
        with any_worker("measure ollama") as worker:
            if part.what == IMATRIX:
                worker.call("making the importance matrix ended", make_imatrix, job, folder, advance=advance)
            elif part.what == COSTS:
                worker.call("measuring types ended", measure_types, job, folder, advance=advance)
            else:
                aim = job.settings.mix(quant_of(job))
                worker.call(f"finding the {part.what} ended", find_mix, job, aim, folder, advance=advance)

    def told(self, job: ExportJob, part: SharedPart) -> tuple[str, ...]:
        aim = job.settings.mix(quant_of(job))
        found = found_of(job) if aim and part.what == aim.part else None
        return () if aim is None or found is None else told_of(aim, found)

    def found(self, job: ExportJob) -> FoundTypes | None:
        return found_of(job)

    def tensors(self, settings: OllamaSettings, variant: Variant) -> Mapping[str, str]:
        if settings.mix(variant.quant):  # which is found for each tensor
            return {}
        return {choice.pattern: choice.type.lower() for choice in settings.choices(str(variant.quant))}

    def quants_of(self, settings: OllamaSettings) -> tuple[str, ...]:
        return (*self.quants, *(mix.name for mix in settings.mixes))

    def limits_of(self, settings: OllamaSettings, variant: Variant) -> Limits:
        aim = settings.mix(variant.quant)
        return self.limits(variant) if aim is None else limits_of_mix(aim)

    def variants(self, settings: OllamaSettings, quants: Sequence[str]) -> tuple[Variant, ...]:
        return tuple(
            Variant(
                quant=quant,
                # Quantization types must not share an export folder; the policy's first has the plain name.
                kind="ollama" if quant == settings.exports[0] else f"ollama_{quant}",
                prefix=f"ollama-{quant}",
                label=f"{quant}-gguf",
            )
            for quant in quants or settings.exports
        )

    def shared_path(self, variant: Variant, path: str) -> str:
        return f"{path}-{str(variant.quant).upper()}" if path == MODELFILE else path

    def serves(self, variant: Variant) -> str:
        return f"Ollama and llama.cpp; {SERVES.get(str(variant.quant), OF_A_MIX)}"

    def footprint(self, job: ExportJob) -> Footprint:
        weights = open_weights(job)
        aim, quant = job.settings.mix(quant_of(job)), quant_of(job)
        check_architecture(read_object(job.base.path / CONFIG_FILE))  # refused now rather than after hours
        size = gguf_size(job, weights)
        check_tokenizer(job, self.name)
        _check_importance(job)
        memory = memory_to_convert(weights)
        shared = {IMATRIX: imatrix_footprint(job, weights, memory)} if job.settings.calibration else {}
        if aim and job.found is None:
            check_bits(aim, foreseen_tensors({name: output.shape for name, output in weights.outputs.items()}) or ())
            shared[COSTS] = costs_footprint(job, weights, memory)
            shared[aim.part] = mix_footprint(job, aim, weights, memory)
        seconds = seconds_to_encode(quant, weights.elements, size)
        at_most = aim is not None and aim.bpw is None and job.found is None
        return Footprint(disk=size, memory=memory, work=size, seconds=seconds, shared=shared, at_most=at_most)

    @property
    def try_run(self) -> Callable[[Sequence[ExportJob]], None]:
        return try_run

    @property
    def export_run(self) -> Callable[[Sequence[tuple[ExportJob, Path]], Path, Advance], None]:
        return export_run

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        weights = open_weights(job)
        with scratch_folder("tagship-chat") as scratch:
            model, expected = scratch / "model", scratch / "expected"
            for made in (model, expected):
                made.mkdir()
            said = scratch / "chat.json"
            with any_worker("prompts of ollama") as worker:
                worker.call("the chat template ended", write_chat, job, questions.prompts, model, said)
            chat = Chat(**read_reply(said))
            config = read_object(model / CONFIG_FILE)
            write_ollama_files(job, chat, expected)
            check_model_files(job, folder, expected, "the ollama export")
        if chat.go is None and (folder / TEMPLATE_FILE).exists():
            raise NotAsExported(f"{folder} has a {TEMPLATE_FILE} that nothing made", remedy="export it again")
        if job.settings.calibration and not (folder / IMATRIX_FILE).is_file():
            raise NotAsExported(f"{folder} has no {IMATRIX_FILE}, which weighed its types", remedy="export it again")
        parts = [folder / name for name in gguf_files(path.name for path in folder.iterdir())]
        if not parts:
            raise NotAsExported(f"{folder} has no GGUF", remedy="export it again")
        check_headers(parts, mix_of(job), chat, config, headed=any(map(is_head, weights.outputs)))
        notes = (chat.note,) if chat.note else ()
        return Subject(
            what="the GGUF", model=parts[0], rendered=tuple(chat.rendered), prompts=chat.prompts, notes=notes
        )

    def draft(self, job: ExportJob, folder: Path, questions: Questions, room: int) -> Subject | None:
        if not are_installed(self.modules):
            return None
        disk = free_disk(folder)
        drafts = [(draft, size) for draft in self._drafts(job) if (size := self.footprint(draft).disk) <= disk]
        if not drafts:
            return None
        drafting = next((draft for draft, size in drafts if size <= room), drafts[-1][0])
        self.export([(drafting, folder)], silent)
        return replace(self.subject(drafting, folder, questions), what="the draft")

    def _drafts(self, job: ExportJob) -> Iterator[ExportJob]:
        for kind in _DRAFTS:
            whole = (None, TensorChoice("weight", kind))
            settings = OllamaSettings(quants=("q4_0",), template=None, imatrix=None, tensors=(whole,))
            yield replace(job, settings=settings, variant=self.variants(settings, ())[0])

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        return usage.usages(job, files)

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        return usage.use_line(job, files)


FORMAT = _Ollama()


def _check_importance(job: ExportJob) -> None:
    """Raise ReleaseError for an importance matrix that is none, and where there is none for a type that needs one."""
    quant = quant_of(job)
    if job.settings.imatrix:
        imatrix_of(job)
    elif job.settings.mix(quant) and not job.settings.weighed:
        raise ReleaseError(
            f"[formats.ollama.mixes.{quant}] is found by an importance matrix, and there is none",
            remedy=f'have one made, [export] imatrix = "{MAKE}" in release.toml or --imatrix {MAKE}; or name a file of '
            "llama-imatrix",
        )
    elif quant in QUANTS and QUANTS[quant].needs_imatrix and not job.settings.weighed:
        raise ReleaseError(
            f"the quantization type {quant} takes an importance matrix, and there is none",
            remedy=f'have one made, [export] imatrix = "{MAKE}" in release.toml or --imatrix {MAKE}; or name a file of '
            "llama-imatrix, or a type of more bits",
        )
