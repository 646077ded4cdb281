"""lora: the adapter as PEFT saved it, pointing at its base model on the Hub."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tagship.formats.protocol import CardFacts, ExportJob, Footprint, Format, Usage
from tagship.naming.variant import Variant
from tagship.runs.model_files import model_files, published
from tagship.system.files import copy_file, write_json
from tagship.system.progress import Advance
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE

_MEMORY = 100 << 20
# vllm/config/lora.py
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class _Lora(Format):
    name = "lora"
    runtime = "transformers"
    card = CardFacts(library_name="peft", relation="adapter", tags=("lora",))

    def serves(self, variant: Variant) -> str:
        return "the adapter alone, to load beside the base model"

    def footprint(self, job: ExportJob) -> Footprint:
        from tagship.weights.lora import modules_of, read_weights

        weights = read_weights(job.run.path)
        job.run.adapter.check_patterns(modules_of(weights))
        size = weights.size
        return Footprint(disk=size, memory=_MEMORY, work=size)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
        for job, folder in parts:
            _export(job, folder, advance)

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        return Subject(what="the lora export", model=job.base.path, adapter=folder, tokenizer=folder)

    def limits(self, variant: Variant, kl: Mapping[str, float]) -> Limits:
        return Limits(kl=1e-6, same_tokens=True)

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        load = job.templates.render("lora/usage.py.j2", repo_id=job.repo_id)
        peft = Usage(title="PEFT", language="python", code=load)
        if not _vllm_takes(job):
            merged = job.lineage.merged
            served = Usage(title="vLLM, with the merged model", language="shell", code=f"vllm serve {merged}")
            return (peft, served) if merged else (peft,)
        serve = (
            f"vllm serve {job.base.id} --enable-lora --max-lora-rank {_vllm_rank(job.run.adapter.largest_rank)} "
            f"--lora-modules {job.run.name}={job.repo_id}"
        )
        return (peft, Usage(title="vLLM", language="shell", code=serve))

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        return f'peft.AutoPeftModelForCausalLM.from_pretrained("{job.repo_id}")'


def _vllm_takes(job: ExportJob) -> bool:
    """Whether vLLM serves the adapter beside its base: low-rank parts of modules alone, without DoRA, whole modules,
    biases, token rows or experts' parameters (vllm/lora/peft_helper.py), and of no rank above its highest."""
    from tagship.weights.lora import read_weights

    adapter = job.run.adapter
    plain = all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in read_weights(job.run.path).tensors)
    return plain and not (adapter.dora or adapter.target_parameters) and adapter.largest_rank <= _VLLM_RANKS[-1]


def _vllm_rank(rank: int) -> int:
    """The smallest rank that vLLM can be told which holds this one (vllm/config/lora.py)."""
    return next(size for size in _VLLM_RANKS if size >= rank)


FORMAT = _Lora()


def _export(job: ExportJob, folder: Path, advance: Advance) -> None:
    copy_file(job.run.path / WEIGHTS_FILE, folder / WEIGHTS_FILE, advance)
    config = json.loads((job.run.path / CONFIG_FILE).read_text(encoding="utf-8"))
    # Trainers record the path that they loaded; users have the Hub.
    config = published(config) | {"base_model_name_or_path": job.base.id, "revision": job.base.revision}
    write_json(folder / CONFIG_FILE, config)
    files = model_files(job.base, job.run.path)
    files.write(folder, [*files.of_the_tokenizer, *files.of_the_license])
