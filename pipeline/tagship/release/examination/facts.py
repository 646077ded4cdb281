"""What an examination of a run has to go by: facts, of which findings are made."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tagship.gguf.architectures import ConverterSupport
from tagship.hub.base_questions import HubAnswer
from tagship.release.finding import Problem
from tagship.runs.base import BaseModel
from tagship.runs.base_at_hand import BaseAtHand, WeightFiles
from tagship.runs.licenses import Terms
from tagship.runs.quantized import Quantized
from tagship.weights.adapter_facts import AdapterFacts
from tagship.weights.partial import Described


class Fit(Struct, frozen=True, kw_only=True):
    """How an adapter fits its base: of how many `parameters` of the model it brings something, under which other name
    the base's files have the first that differs (`renamed`); whether the base ties embedding and head, whether the
    adapter changes one of them, and what the merged model does (`untied`: each has its own). `rows` and
    `merged_rows` are those of the embedding; `tokens` and `base_tokens` are one more than the highest id of the
    tokenizers, 0 where there is none here."""

    parameters: int
    renamed: tuple[str, str] | None
    tied: bool
    touches_vocabulary: bool
    untied: bool
    rows: int | None
    merged_rows: int | None
    tokens: int
    base_tokens: int


class Cost(Struct, frozen=True, kw_only=True):
    """What a format takes: bytes on disk (and as much again for its archive) and of memory; about how many `seconds` on
    two cores, at best and at worst, None where that was not measured. `verify_memory` is what running it for the
    comparison takes beside mapped weights. `refused` is why a release would not make it, then the rest is None."""

    format: str
    quant: str | None
    disk: int | None = None
    memory: int | None = None
    seconds: tuple[float, float] | None = None
    verify_memory: int | None = None
    refused: Problem | None = None

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.format, self.quant)))


class VllmFacts(Struct, frozen=True, kw_only=True):
    """Why vLLM does not serve the adapter without merging, if so; else the command that does."""

    refusals: tuple[str, ...]
    max_lora_rank: int | None
    command: str | None


class LlamaCppFacts(Struct, frozen=True, kw_only=True):
    """The architecture of the base's text, and whether llama.cpp's converter knows it; `needed` is whether a format of
    the policy is made by it."""

    architecture: str | None
    support: ConverterSupport | None
    needed: bool


class LicenseFacts(Struct, frozen=True, kw_only=True):
    """The license of the base by the Hub's identifier, None where nothing says it; who says it; its terms, if they are
    known; and the one that its own card says in place of the policy."""

    id: str | None
    said_by: str | None
    name: str | None
    link: str | None
    terms: Terms | None
    overruled: str | None = None


class BaseFacts(Struct, frozen=True, kw_only=True):
    """The base of a run: what is at hand of it; its `config`, by the disk or by the Hub, with the `architecture` in it;
    its weights' `files`, and all their tensors, `described` as far as they can be told. `trained_class` is what the
    adapter says that it was trained in, `to_fetch` what a release would fetch, in bytes. `problem` is what it would be
    refused with, `code_problem` that for code of its own that may not run."""

    model: BaseModel
    at_hand: BaseAtHand
    config: Mapping[str, Any]
    files: WeightFiles | None
    described: Described | None
    architecture: str | None
    trained_class: str | None
    to_fetch: int
    problem: Problem | None
    code_problem: Problem | None
    hub: HubAnswer


class Examination(Struct, frozen=True, kw_only=True):
    """All that was found out about a run. What is None could not be told, and then a problem says why."""

    run: str
    path: str
    adapter: AdapterFacts | None = None
    adapter_problem: Problem | None = None
    naming_problem: Problem | None = None
    task_problem: Problem | None = None
    base: BaseFacts | None = None
    base_problem: Problem | None = None
    layers: int | None = None
    quantized: Quantized | None = None
    numbers_problem: Problem | None = None
    fit: Fit | None = None
    fit_problem: Problem | None = None
    costs: tuple[Cost, ...] = ()
    room_problems: tuple[Problem, ...] = ()
    free: Mapping[str, int] | None = None
    vllm: VllmFacts | None = None
    llama_cpp: LlamaCppFacts | None = None
    license: LicenseFacts | None = None
