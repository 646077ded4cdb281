"""What a format brings: nothing outside a format's own module asks which format it is.

A package adds a format by an entry point in the group `tagship.formats` that loads an object
with the attributes and methods of `Format`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tagship.naming.name_rules import Place
from tagship.runs.base_folder import BaseFolder
from tagship.runs.run import Run
from tagship.system.progress import Advance
from tagship.system.templating import Templates
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Answers, Limits, Questions
from tagship.verify.runtimes.processes import Runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One thing that a format exports, with its parts of names (`[naming]`).

    `quant` is None for a format that has no quantization types.
    """

    quant: str | None
    kind: str
    prefix: str
    label: str


# A safetensors dtype for each word of `[export] dtype`.
DTYPES = {"bf16": "BF16", "f16": "F16", "f32": "F32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPolicy:
    """`[export]`: what merged weights are converted to (None: they keep the base's dtype), the largest file of
    theirs in bytes (None: as the base's files are), and an importance matrix for those that are quantized."""

    dtype: str | None = None
    max_shard: int | None = None
    imatrix: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """All that an export is made from. `title` names the model, `repo_id` where it will be."""

    run: Run
    base: BaseFolder
    variant: Variant
    settings: Any
    policy: ExportPolicy
    title: str
    repo_id: str
    version: str | None
    namespace: str
    templates: Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What an export needs, predicted from headers alone, in bytes; `work` is what `advance` counts."""

    disk: int
    memory: int
    work: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How a published export is used: a title, the language of the code for people's editors, the code."""

    title: str
    language: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the model card's front matter says of a format (facts of the Hub, not of a run)."""

    library_name: str
    relation: str
    tags: tuple[str, ...]


class Format(Protocol):
    """A way to ship a model. `name` is what `--format` and `[formats.X]` say; `modules` are the
    importable packages of the optional dependencies that exporting needs, `quants` its
    quantization types, `places` those beside the Hub that its model names and repo names go to."""

    name: str
    modules: tuple[str, ...]
    quants: tuple[str, ...]
    places: tuple[Place, ...]
    card: CardFacts

    def configure(self, table: Reader) -> Any:
        """The format's own settings from its table of release.toml, mistakes noted there."""

    def variants(self, settings: Any, quants: Sequence[str]) -> tuple[Variant, ...]:
        """What to export: by the settings, or by `quants` where the options name some."""

    def footprint(self, job: ExportJob) -> Footprint:
        """Predict what `export` will need. Raises ReleaseError for what cannot be exported."""

    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> None:
        """Fill a folder with the export of each job; the jobs are of one base, so that it need be read but once.

        A folder may hold files that a killed run of the same export wrote: those with names of their own are
        whole, and may be kept. Raises ReleaseError when an export cannot be made."""

    def answer(self, job: ExportJob, folder: Path, questions: Questions, runtimes: Runtimes) -> Answers:
        """Run the export in `folder` and let it answer. Raises ToolError when it does not run."""

    def limits(self, variant: Variant, kl: Mapping[str, float]) -> Limits:
        """How far the export's answers may be from base + adapter; `kl` is the policy's own."""

    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        """How people use what is published, for the model card; `files` are the names of the export's files."""

    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        """The one line of Python or shell that uses what is published."""
