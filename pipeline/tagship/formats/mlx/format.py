"""mlx: merged weights as mlx-lm loads them on Apple silicon, in 4 or 8 bits or in bf16."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats.model_folder import check_model_files, merge_footprint
from tagship.formats.protocol import QUANTIZED, CardFacts, ExportJob, Footprint, Format, Usage
from tagship.naming.variant import Variant
from tagship.runs.model_files import has_chat_template, model_files
from tagship.system.files import scratch_folder
from tagship.system.progress import Advance
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.affine import GROUP_SIZES, Affine

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights

_PLAIN = "bf16"
_BITS = {"4bit": 4, "8bit": 8}
_SERVES = {
    "4bit": "mlx-lm on a Mac; a quarter of the memory",
    "8bit": "mlx-lm on a Mac; half the memory",
    _PLAIN: "mlx-lm on a Mac, also for training there; merged weights",
}
# Mean KL in nats that a variant may cost, and the least share of tokens where the likeliest one is the same:
# docs/quality.md has what was measured.
_KL = {"4bit": 0.3, "8bit": 0.01}
_TOP1 = {"4bit": 0.7, "8bit": 0.92}
# Rounding to 16 bits is all that may differ.
_PLAIN_KL = 0.01
# The largest file that mlx-lm writes, in bytes.
_MAX_SHARD = 5 << 30


class MlxSettings(Struct, frozen=True, kw_only=True):
    """`[formats.mlx]`: the variants, and how many numbers of a row have a scale and a bias where they are quantized."""

    quants: tuple[str, ...]
    group_size: int


class _Mlx(Format):
    name = "mlx"
    runtime = "transformers"
    native = "mlx_lm"
    quants = (*_BITS, _PLAIN)
    # The Hub has no word for a conversion, and lists those of the merged model where people look for them.
    card = CardFacts(library_name="mlx", relation=QUANTIZED, tags=("mlx",), text_only=True)

    def configure(self, table: Reader, export: Reader) -> MlxSettings:
        quants = self.named(table, "quants", "4bit")
        group_size = table.count("group_size", 64)
        if group_size not in GROUP_SIZES:
            table.note("group_size", f"is none that MLX has: {', '.join(map(str, GROUP_SIZES))}")
        return MlxSettings(quants=quants, group_size=group_size)

    def settings_of(self, settings: MlxSettings, variant: Variant) -> MlxSettings:
        return replace(settings, quants=())

    def variants(self, settings: MlxSettings, quants: Sequence[str]) -> tuple[Variant, ...]:
        return self.variants_of(settings.quants[0], quants or settings.quants, f"{self.name}-{{}}")

    def facts(self, variant: Variant) -> CardFacts:
        bits = () if variant.quant == _PLAIN else ("quantized", _hub_word(variant))
        return CardFacts(library_name="mlx", relation=QUANTIZED, tags=("mlx", *bits), text_only=True)

    def serves(self, variant: Variant) -> str:
        return _SERVES[str(variant.quant)]

    def footprint(self, job: ExportJob) -> Footprint:
        return merge_footprint(_weights(job), quantizes=job.variant.quant != _PLAIN)

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> Mapping[Path, str]:
        from tagship.formats.mlx.files import write_files, write_index
        from tagship.weights.merge_writer import write_merged

        models = [(_weights(job), folder) for job, folder in parts]
        for (job, folder), (weights, _) in zip(parts, models, strict=True):
            write_files(job, weights, _affine(job), folder)
        most = min(parts[0][0].policy.max_shard or _MAX_SHARD, _MAX_SHARD)
        digests = write_merged(models, advance, max_shard=most)
        for weights, folder in models:
            write_index(weights, folder)
        return digests

    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        from tagship.formats.mlx.files import write_files

        with scratch_folder("tagship-files") as expected:
            write_files(job, _weights(job), _affine(job), expected)
            check_model_files(job, folder, expected, "the mlx export")
        how = None if job.variant.quant == _PLAIN else "the quantized weights dequantized to float32"
        return Subject(what="the mlx export", model=folder, trust_remote_code=job.base.trust_remote_code, how=how)

    def limits(self, variant: Variant) -> Limits:
        quant = str(variant.quant)
        if quant == _PLAIN:
            return Limits(kl=_PLAIN_KL, same_tokens=True)
        return Limits(kl=_KL[quant], top1=_TOP1[quant], same_tokens=False, key=f"[verify.limits.{quant}]")

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        chats = has_chat_template(model_files(job.base, job.run.path))
        first = "pip install mlx-lm" if job.revision is None else f"pip install mlx-lm\n{_download(job)}"
        terminal = f"{first}\n{self.use_line(job, files)}"
        if chats:
            terminal += f"\nmlx_lm.chat --model {_model(job)}"
        code = job.templates.render(
            "mlx/usage.py.j2", repo_id=job.repo_id, revision=job.revision, question=job.question, chats=chats
        )
        server = f"mlx_lm.server --model {_model(job)}  # as OpenAI's API, on port 8080"
        return (
            Usage(title="mlx-lm, in a terminal", language="shell", code=terminal),
            Usage(title="mlx-lm, from Python", language="python", code=code),
            Usage(title="mlx-lm, as a server", language="shell", code=server),
        )

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        return f"mlx_lm.generate --model {_model(job)} --prompt {shlex.quote(job.question)}"


FORMAT = _Mlx()


def _hub_word(variant: Variant) -> str:
    """What the Hub's search calls so many bits."""
    return f"{_BITS[str(variant.quant)]}-bit"


def _model(job: ExportJob) -> str:
    """What mlx-lm's programs take, which know no revisions: the repo, or a folder with its version."""
    return job.repo_id if job.revision is None else _folder(job)


def _download(job: ExportJob) -> str:
    return f"hf download {job.repo_id} --revision {job.revision} --local-dir {_folder(job)}"


def _folder(job: ExportJob) -> str:
    return job.repo_id.rpartition("/")[2]


def _affine(job: ExportJob) -> Affine | None:
    settings: MlxSettings = job.settings
    bits = _BITS.get(str(job.variant.quant))
    return Affine(bits=bits, width=settings.group_size) if bits else None


def _weights(job: ExportJob) -> "MergedWeights":
    from tagship.formats.mlx.files import mlx_weights

    return mlx_weights(job, _affine(job))
