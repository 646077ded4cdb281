"""lora: the adapter as PEFT saved it, pointing at its base model on the Hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagship.formats.differences import NotAsExported
from tagship.formats.protocol import ADAPTED, CardFacts, ExportJob, Footprint, Format, Usage
from tagship.formats.vllm_adapters import serve_line, vllm_refusals
from tagship.naming.variant import Variant
from tagship.runs.model_files import has_chat_template, model_files, published
from tagship.system.files import copy_file, scratch_folder, sha256_of, write_json
from tagship.system.json_files import read_object
from tagship.system.progress import Advance
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE

_MEMORY = 100 << 20
# Bytes a second of a copy: from page cache to page cache, and where the disk is waited for (docs/performance.md).
_FASTEST, _SLOWEST = 3.4e9, 0.8e9


class _Lora(Format):
    name = "lora"
    runtime = "transformers"
    card = CardFacts(library_name="peft", relation=ADAPTED, tags=("lora",))

    def serves(self, variant: Variant) -> str:
        return "loading beside the base model; the adapter alone"

    def footprint(self, job: ExportJob) -> Footprint:
        from tagship.weights.lora import modules_of, read_weights

        weights = read_weights(job.run.path)
        job.run.adapter.check_patterns(modules_of(weights))
        size = weights.size
        return Footprint(disk=size, memory=_MEMORY, work=size, seconds=(size / _FASTEST, size / _SLOWEST))

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
        for job, folder in parts:
            _export(job, folder, advance)

    def check_copy(self, job: ExportJob, folder: Path) -> bool:
        from tagship.formats.model_folder import check_model_files, open_weights

        if sha256_of(folder / WEIGHTS_FILE) != sha256_of(job.run.path / WEIGHTS_FILE):
            raise NotAsExported(f"{folder / WEIGHTS_FILE} is not the run's", remedy="export it again")
        with scratch_folder("tagship-files") as expected:
            _write_beside(job, expected)
            check_model_files(job, folder, expected, "the lora export")
        if job.run.adapter.unsupported:  # what cannot be merged is run as well
            return False
        open_weights(job)  # each of its parameters has a place in the base, or it is refused
        return True

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        return Subject(
            what="the lora export",
            model=job.base.path,
            adapter=folder,
            tokenizer=folder,
            trust_remote_code=job.base.trust_remote_code,
        )

    def limits(self, variant: Variant) -> Limits:
        return Limits(kl=1e-6, same_tokens=True)

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        from tagship.weights.lora import read_weights

        load = job.templates.render(
            "lora/usage.py.j2",
            repo_id=job.repo_id,
            revision=job.revision,
            trust_remote_code=job.base.trust_remote_code,
            question=job.question,
            chats=has_chat_template(model_files(job.base, job.run.path)),
            nf4=job.nf4,
        )
        peft = Usage(title="PEFT", language="python", code=load)
        adapter = job.run.adapter
        if vllm_refusals(adapter, read_weights(job.run.path)):
            merged, pinned = job.lineage.merged, f" --revision {job.revision}" if job.revision else ""
            served = Usage(title="vLLM, with the merged model", language="shell", code=f"vllm serve {merged}{pinned}")
            return (peft, served) if merged else (peft,)
        # vLLM takes main of a repo, but any version in a folder.
        place = f"$(hf download {job.repo_id} --revision {job.revision})" if job.revision else job.repo_id
        serve = serve_line(job.base.id, job.run.name, place, adapter)
        serve += " --quantization bitsandbytes" * (job.nf4 is not None)
        return (peft, Usage(title="vLLM", language="shell", code=serve))

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        in_4bit = ', quantization_config=transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'
        pinned = f', revision="{job.revision}"' if job.revision else ""
        return f'peft.AutoPeftModelForCausalLM.from_pretrained("{job.repo_id}"{pinned}{in_4bit if job.nf4 else ""})'


FORMAT = _Lora()


def _export(job: ExportJob, folder: Path, advance: Advance) -> None:
    copy_file(job.run.path / WEIGHTS_FILE, folder / WEIGHTS_FILE, advance)
    _write_beside(job, folder)


def _write_beside(job: ExportJob, folder: Path) -> None:
    """All but the weights."""
    write_json(folder / CONFIG_FILE, _config(job))
    files = model_files(job.base, job.run.path)
    files.write(folder, [*files.of_the_tokenizer, *files.of_the_license])


def _config(job: ExportJob) -> dict[str, Any]:
    """The adapter's configuration as it is published: trainers record the path that they loaded; users have the Hub."""
    config = published(read_object(job.run.path / CONFIG_FILE))
    return {**config, "base_model_name_or_path": job.base.id, "revision": job.base.revision}
