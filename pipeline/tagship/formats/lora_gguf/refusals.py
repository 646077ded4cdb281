"""What llama.cpp cannot apply beside a GGUF of the base, told by headers alone: an adapter's GGUF would lack it, or run
beside another model than it was trained on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tagship.formats.protocol import NF4, ExportJob
from tagship.runs.model_files import TOKENIZER_FILE
from tagship.runs.tokenizer_file import read_tokenizer_file
from tagship.system.errors import ReleaseError
from tagship.weights.changes import Added, LowRank, Magnitude, TokenRows

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights

_INSTEAD = "release merged weights instead, which hold it (ollama, vllm), and leave lora-gguf out"
_MOST = 3


def check_base(job: ExportJob) -> None:
    """Raise ReleaseError where a GGUF of the base, as anybody has it, is not what the adapter was trained on."""
    if job.policy.base == NF4:
        raise ReleaseError(
            f'[export] base is "{NF4}", and GGUFs of {job.base.id} that people have are made of its own weights',
            remedy="leave lora-gguf out; ollama merges into what the 4 bits dequantize to",
        )
    own, theirs = job.run.path / TOKENIZER_FILE, job.base.path / TOKENIZER_FILE
    if own.is_file() and theirs.is_file():
        ours, known = read_tokenizer_file(own), read_tokenizer_file(theirs)
        added = [{token.get("content"): token.get("id") for token in each.added} for each in (ours, known)]
        if ours.vocabulary != known.vocabulary or added[0] != added[1]:
            raise ReleaseError(
                f"{own} has other tokens than the base, and a GGUF of the base has the base's",
                remedy="leave lora-gguf out: a GGUF of the whole model (ollama) has the run's tokens; or remove the "
                "file, if no tokens were added",
            )


def check_changes(job: ExportJob, weights: "MergedWeights") -> None:
    """Raise ReleaseError for an adapter that is more than changes of low rank to matrices inside of layers, or a head
    of its own."""
    if told := list(dict.fromkeys(_refused(weights))):
        more = f"; and {len(told) - _MOST} more" if len(told) > _MOST else ""
        raise ReleaseError(
            f"llama.cpp does not apply all of the adapter of {job.run.name} beside a GGUF of its base: "
            f"{'; '.join(told[:_MOST])}{more}",
            remedy=_INSTEAD,
        )


def _refused(weights: "MergedWeights") -> Iterator[str]:
    if weights.untied:
        yield f"{weights.untied[0]} was trained, and the base's GGUF has none: it is tied to {weights.untied[1]}"
    for name in sorted(weights.changed):
        output = weights.outputs[name]
        if output.replaced:
            yield f"{name} is {'a trained bias' if name.endswith('.bias') else 'saved whole (modules_to_save)'}"
        for change in output.changes:
            if isinstance(change, Magnitude):
                yield "it is DoRA"
            elif isinstance(change, TokenRows):
                yield f"rows of {name} were trained (trainable_token_indices)"
            elif isinstance(change, Added):
                yield f"{name} is a bias of lora_B (lora_bias)"
            elif not isinstance(change, LowRank):
                yield f"{name} was adapted as a parameter of experts (target_parameters)"
            elif change.embedding:
                yield f"{name} is an embedding"
