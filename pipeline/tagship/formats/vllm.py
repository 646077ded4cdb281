"""vllm: merged safetensors as transformers and vLLM load them, with a compose file that serves them; in 16 bits, and
in 8 and 4 by schemes of compressed-tensors."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats.model_folder import check_model_files, copy_model_files, merge_footprint, open_weights
from tagship.formats.protocol import MERGED, QUANTIZED, CardFacts, ExportJob, Footprint, Format, Usage
from tagship.formats.vllm_schemes import KL, SERVES, TOP1, how_it_was_run
from tagship.naming.variant import Variant
from tagship.runs.model_files import has_chat_template, model_files
from tagship.system.files import scratch_folder, write_text
from tagship.system.progress import Advance
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Ingredients, Subject
from tagship.weights.linear_tensors import of_expert
from tagship.weights.schemes import SCHEMES

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights

# The scheme that quantizes nothing.
_PLAIN = "bf16"
# Rounding to 16 bits is all that may differ.
_KL = 0.01
# Where vLLM serves by default.
_ADDRESS = "http://localhost:8000/v1"


class VllmSettings(Struct, frozen=True, kw_only=True):
    """`[formats.vllm]`: the schemes that the merged weights are quantized by, each of which is an export."""

    schemes: tuple[str, ...]


class _Vllm(Format):
    name = "vllm"
    runtime = "transformers"
    native = "vllm"
    quants = (_PLAIN, *SCHEMES)
    card = CardFacts(library_name="transformers", relation=MERGED, tags=("vllm", "merged"))

    def configure(self, table: Reader, export: Reader) -> VllmSettings:
        return VllmSettings(schemes=self.named(table, "schemes", _PLAIN))

    def settings_of(self, settings: VllmSettings, variant: Variant) -> VllmSettings:
        return VllmSettings(schemes=())

    def variants(self, settings: VllmSettings, quants: Sequence[str]) -> tuple[Variant, ...]:
        return tuple(map(_variant, quants or settings.schemes))

    def facts(self, variant: Variant) -> CardFacts:
        if variant.quant is None:
            return self.card
        tags = ("vllm", "compressed-tensors", variant.quant)
        return CardFacts(library_name="transformers", relation=QUANTIZED, tags=tags)

    def serves(self, variant: Variant) -> str:
        if variant.quant is None:
            return "vLLM, transformers and further training; merged weights"
        return f"vLLM; {SERVES[variant.quant]}"

    def footprint(self, job: ExportJob) -> Footprint:
        weights, quantizes = _weights(job), job.variant.quant is not None
        by_file = None if quantizes else _largest_file(weights, job.policy.max_shard)
        return merge_footprint(weights, quantizes=quantizes, by_file=by_file)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> Mapping[Path, str]:
        from tagship.weights.merge_writer import write_merged

        models = [(_weights(job), folder) for job, folder in parts]
        for (job, folder), (weights, _) in zip(parts, models, strict=True):
            _write_beside(job, weights, folder)
        return write_merged(models, advance, max_shard=parts[0][0].policy.max_shard)

    def export_by_file(self, job: ExportJob, folder: Path, advance: Advance) -> Iterator[tuple[Path, str | None]]:
        from tagship.weights.merge_writer import write_file_by_file

        weights = _weights(job)
        _write_beside(job, weights, folder)
        return write_file_by_file(weights, folder, advance, max_shard=job.policy.max_shard)

    def digests(self, job: ExportJob) -> Iterator[tuple[str, str]]:
        from tagship.weights.remade import digests_of

        return digests_of(_weights(job), job.policy.max_shard)

    def remade(self, job: ExportJob, subject: Subject) -> Subject:
        made_of = Ingredients(
            base=job.base.path,
            adapter=job.run.path,
            dtype=job.policy.dtype,
            nf4=job.nf4,
            portable=job.policy.portable,
        )
        return replace(subject, made_of=made_of, how="on weights made again as they were sent, file by file")

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        weights = _weights(job)
        with scratch_folder("tagship-files") as expected:
            copy_model_files(job, weights, expected)
            check_model_files(job, folder, expected, "the vllm export")
        return Subject(
            what="the vllm export",
            model=folder,
            trust_remote_code=job.base.trust_remote_code,
            how=how_it_was_run(job.variant.quant, experts=any(map(of_expert, weights.outputs))),
        )

    def limits(self, variant: Variant) -> Limits:
        if variant.quant is None:
            return Limits(kl=_KL, same_tokens=True)
        quant = variant.quant
        return Limits(kl=KL[quant], top1=TOP1[quant], same_tokens=False, key=f"[verify.limits.{quant}]")

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
            quantized=job.variant.quant is not None,
        )
        return (
            Usage(title="vLLM", language="shell", code=f"{self.use_line(job, files)}\n{curl}"),
            Usage(title="transformers", language="python", code=load),
        )

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        pinned = f" --revision {job.revision}" if job.revision else ""
        return f"vllm serve {job.repo_id}{pinned}" + " --trust-remote-code" * job.base.trust_remote_code


FORMAT = _Vllm()


def _variant(scheme: str) -> Variant:
    """The plain one has the names that it had before there were others. Theirs go on with no hyphen: in a name that may
    be where the next field begins, and policies that could be read back before must stay so."""
    quant, name = (None, "vllm") if scheme == _PLAIN else (scheme, f"vllm_{scheme}")
    return Variant(quant=quant, kind=name, prefix=name, label=name)


def _write_beside(job: ExportJob, weights: "MergedWeights", folder: Path) -> None:
    """Write what an export has beside its weights."""
    copy_model_files(job, weights, folder)
    compose = job.templates.render(
        "vllm/docker-compose.yml.j2", served_name=job.title, trust_remote_code=job.base.trust_remote_code
    )
    write_text(folder / "docker-compose.yml", compose)


def _largest_file(weights: "MergedWeights", max_shard: int | None) -> int:
    from tagship.weights.layout import lay_out

    return max(shard.size for shard in lay_out(weights, max_shard).shards)


def _weights(job: ExportJob) -> "MergedWeights":
    return open_weights(job, job.policy.dtype, SCHEMES[job.variant.quant] if job.variant.quant else None)
