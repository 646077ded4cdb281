"""vllm: merged safetensors as transformers and vLLM load them, with a compose file that serves them."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from tagship.formats.model_folder import check_model_files, copy_model_files, open_weights
from tagship.formats.protocol import CardFacts, ExportJob, Footprint, Format, Usage
from tagship.naming.variant import Variant
from tagship.runs.model_files import has_chat_template, model_files
from tagship.system.files import scratch_folder, write_text
from tagship.system.progress import Advance
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject

# Merging holds a few blocks of rows for each core, whatever the model's size, beside the adapter's part in a tensor.
_MEMORY = 400 << 20
# Bytes a second: from page cache to page cache, and where the disk is waited for (docs/performance.md).
_FASTEST, _SLOWEST = 2.8e9, 0.8e9
# Rounding to 16 bits is all that may differ.
_KL = 0.01
# Where vLLM serves by default.
_ADDRESS = "http://localhost:8000/v1"


class _Vllm(Format):
    name = "vllm"
    runtime = "transformers"
    card = CardFacts(library_name="transformers", relation="finetune", tags=("vllm", "merged"))

    def serves(self, variant: Variant) -> str:
        return "vLLM, transformers and further training; merged weights"

    def footprint(self, job: ExportJob) -> Footprint:
        weights = open_weights(job, job.policy.dtype)
        size = weights.nbytes
        seconds = (size / _FASTEST, size / _SLOWEST)
        return Footprint(disk=size, memory=_MEMORY + weights.prepared, work=size, seconds=seconds)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
        from tagship.weights.merge_writer import write_merged

        models = []
        for job, folder in parts:
            weights = open_weights(job, job.policy.dtype)
            copy_model_files(job, weights, folder)
            compose = job.templates.render(
                "vllm/docker-compose.yml.j2", served_name=job.title, trust_remote_code=job.base.trust_remote_code
            )
            write_text(folder / "docker-compose.yml", compose)
            models.append((weights, folder))
        write_merged(models, advance, max_shard=parts[0][0].policy.max_shard)

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        with scratch_folder("tagship-files") as expected:
            copy_model_files(job, open_weights(job, job.policy.dtype), expected)
            check_model_files(job, folder, expected, "the vllm export")
        return Subject(what="the vllm export", model=folder, trust_remote_code=job.base.trust_remote_code)

    def limits(self, variant: Variant) -> Limits:
        return Limits(kl=_KL, same_tokens=True)

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        chats = has_chat_template(model_files(job.base, job.run.path))
        asked = {"messages": [{"role": "user", "content": job.question}]} if chats else {"prompt": job.question}
        body = shlex.quote(json.dumps({"model": job.repo_id, **asked}, ensure_ascii=False))
        address = f"{_ADDRESS}/{'chat/completions' if chats else 'completions'}"
        curl = f"curl {address} -H 'Content-Type: application/json' \\\n  -d {body}"
        load = job.templates.render(
            "vllm/usage.py.j2",
            repo_id=job.repo_id,
            revision=job.revision,
            trust_remote_code=job.base.trust_remote_code,
            question=job.question,
            chats=chats,
        )
        return (
            Usage(title="vLLM", language="shell", code=f"{self.use_line(job, files)}\n{curl}"),
            Usage(title="transformers", language="python", code=load),
        )

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        pinned = f" --revision {job.revision}" if job.revision else ""
        return f"vllm serve {job.repo_id}{pinned}" + " --trust-remote-code" * job.base.trust_remote_code


FORMAT = _Vllm()
