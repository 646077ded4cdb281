"""What is done to find a mix, in the worker: measuring what types cost, once for all mixes of a run; then the mix."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.formats.ollama import tensor_costs
from tagship.formats.ollama.along import Along, bytes_along
from tagship.formats.ollama.export import MIX_FILE, about_its_tokenizer, chat_metadata, imatrix_of, staged
from tagship.formats.ollama.importance import (
    DISK,
    MEMORY,
    SHIPPED,
    SPEED,
    bytes_unquantized,
    unquantized_type,
)
from tagship.formats.ollama.mix_search import NEARER, patterns_of, record_of, within_bits, within_limit
from tagship.formats.ollama.mixes import MixAim
from tagship.formats.ollama.tensor_costs import measure_costs, read_costs, write_costs
from tagship.formats.protocol import ExportJob, Footprint
from tagship.formats.shared_parts import FoundTypes
from tagship.gguf import tensor_errors
from tagship.gguf.kl_search import ROUNDS, search
from tagship.gguf.quant_mix import Mix
from tagship.runs.base_folder import vocabulary_rows
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder, write_json
from tagship.system.progress import Advance
from tagship.verify.measured_text import LONGEST_READ, Passage, first_tokens, read_text, shipped_text, usual_tokens
from tagship.verify.rendering import spell_passage

if TYPE_CHECKING:
    from tagship.gguf.conversion import GgufMetadata
    from tagship.gguf.tensor_errors import Coded
    from tagship.weights.merge import MergedWeights

COSTS = "errors of tensors"
# Numbers that are encoded a second on two cores, where types are mixed.
_ENCODED = 8e6


def measure_types(job: ExportJob, folder: Path, advance: Advance) -> None:
    """In the worker: write what types cost into a folder. `advance` counts what `costs_footprint` has as work. Raises
    ReleaseError as `measure_costs`, and as an export."""
    imatrix = imatrix_of(job)
    assert imatrix is not None
    with _measuring(job, folder, read_text(job.settings.calibration or SHIPPED), advance) as opened:
        write_costs(folder, measure_costs(opened.unquantized, imatrix, opened.spelled, opened.scratch, advance))


def find_mix(job: ExportJob, aim: MixAim, folder: Path, advance: Advance) -> None:
    """In the worker: write a mix that is what was asked for into a folder. `advance` counts what `mix_footprint` has as
    work. Raises ReleaseError where none is, and as an export."""
    costs = read_costs(job.shared[COSTS])
    if aim.kl is None:
        found = within_bits(aim, costs)
        write_found(folder, record_of(aim, costs, found, [], None))
        return
    from tagship.gguf.conversion import write_ggufs

    imatrix = imatrix_of(job)
    passages = read_text(job.measured_by) if job.measured_by else shipped_text()
    with _measuring(job, folder, passages, advance) as opened:
        texts = first_tokens(opened.spelled, usual_tokens(opened.weights.elements), LONGEST_READ)
        along = Along(opened.unquantized, texts, opened.scratch)
        size = opened.unquantized.stat().st_size

        def measure(found: "Mapping[str, Coded]") -> float:
            path = opened.scratch / "mix.gguf"
            mix = Mix(quant="q4_k_m", choices=patterns_of(found))
            write_ggufs(
                opened.weights,
                opened.model,
                {aim.name: path},
                opened.metadata,
                lambda _: None,
                mixes={aim.name: mix},
                imatrix=imatrix,
                trust_remote_code=job.base.trust_remote_code,
            )
            kl = along.measured(path).kl
            path.unlink()
            advance(size)
            return kl

        tried = search(costs.table, costs.cost(), aim.kl * NEARER, measure)
    chosen = within_limit(aim, costs, tried)
    tokens = sum(len(text.looked_at) for text in texts)
    write_found(folder, record_of(aim, costs, chosen.found, tried, tokens))


def write_found(folder: Path, found: FoundTypes) -> None:
    """Write a mix and what is recorded of it."""
    write_json(folder / MIX_FILE, {"tensors": dict(found.tensors), "record": dict(found.record)})


def costs_footprint(job: ExportJob, weights: "MergedWeights", memory: int) -> Footprint:
    """What measuring types takes, where an export takes `memory`."""
    numbers, size = weights.elements, bytes_unquantized(weights)
    vocabulary = vocabulary_rows(job.base.path) or 0
    encoding = numbers / 16 / tensor_errors.SPEED / 2
    # By the base's names, as the converter's are not known yet: experts, which it stacks, are counted one by one.
    parts = min(sum(len(output.shape) > 1 for output in weights.outputs.values()), tensor_costs.MOST_PARTS)
    tokens = tensor_costs.tokens_for(parts)
    reading = 2 * numbers * tokens * (1 + parts) / SPEED
    seconds = encoding + reading + numbers / _ENCODED + 3 * size / DISK
    return Footprint(
        # Tensors are kept aside while others are in their place.
        disk=int(size * 1.6) + bytes_along(tokens, vocabulary),
        memory=memory + MEMORY + 4 * vocabulary,
        work=3 * size,
        seconds=(seconds / 2, seconds * 2),
    )


def mix_footprint(job: ExportJob, aim: MixAim, weights: "MergedWeights", memory: int) -> Footprint:
    """What finding a mix takes, where what types cost is known."""
    if aim.kl is None:
        return Footprint(disk=1 << 20, memory=memory, work=0)
    numbers, size = weights.elements, bytes_unquantized(weights)
    tokens, vocabulary = usual_tokens(numbers), vocabulary_rows(job.base.path) or 0
    each = 2 * numbers * tokens / SPEED + numbers / _ENCODED + size / DISK
    return Footprint(
        disk=int(size * 1.6) + bytes_along(tokens, vocabulary),
        memory=memory + MEMORY + 4 * vocabulary,
        work=(1 + ROUNDS) * size,
        seconds=(each * ROUNDS / 3, each * ROUNDS * 2),
    )


class _Opened:
    """A model that is measured: what it is made from, a scratch folder with it unquantized, a text in its tokens."""

    def __init__(
        self,
        weights: "MergedWeights",
        model: Path,
        metadata: "GgufMetadata",
        scratch: Path,
        spelled: Iterator[Sequence[int]],
    ) -> None:
        self.weights, self.model, self.metadata, self.scratch = weights, model, metadata, scratch
        self.spelled = spelled
        self.unquantized = scratch / "unquantized.gguf"


@contextmanager
def _measuring(job: ExportJob, folder: Path, passages: Sequence[Passage], advance: Advance) -> Iterator[_Opened]:
    from transformers import AutoTokenizer

    from tagship.gguf.conversion import write_ggufs

    try:
        with (
            scratch_folder("measured", folder) as scratch,
            staged(job, scratch) as (weights, model, chat),
            about_its_tokenizer(job),
        ):
            tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=job.base.trust_remote_code)
            spelled = (spell_passage(tokenizer, passage) for passage in passages)
            opened = _Opened(weights, model, chat_metadata([job], chat), scratch, spelled)
            write_ggufs(
                weights,
                model,
                {unquantized_type(weights): opened.unquantized},
                opened.metadata,
                advance,
                trust_remote_code=job.base.trust_remote_code,
            )
            yield opened
    except OSError as error:
        raise ReleaseError(f"types could not be measured: {error}") from error
