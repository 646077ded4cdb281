"""What a format brings: nothing outside a format's own module asks which format it is.

A package adds a format by an entry point in the group `tagship.formats` that loads an instance of a
subclass of `Format`. `docs/formats.md` has a whole one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct, field

from tagship.formats.shared_parts import FoundTypes, MadeOfParts
from tagship.naming.name_rules import NameRules
from tagship.naming.variant import Variant
from tagship.runs.base_folder import BaseFolder
from tagship.runs.run import Run
from tagship.system.progress import Advance
from tagship.system.templating import Templates
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Limits, Questions
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.nf4_form import Nf4

# What base + adapter are, merged; what is made of that by quantizing it; and the adapter alone.
MERGED, QUANTIZED, ADAPTED = "finetune", "quantized", "adapter"
# A safetensors dtype for each word of `[export] dtype`.
DTYPES = {"bf16": "BF16", "f16": "F16", "f32": "F32"}
# What `[export] base` may be.
NF4 = "nf4"


class ExportPolicy(Struct, frozen=True, kw_only=True):
    """`[export]`: what merged weights are converted to (None: they keep the base's dtype), and the largest file of
    theirs in bytes (None: as the base's files are). `base` is NF4 where adapters are merged into what the base's 4
    bits that they were trained on dequantize to; None for its weights as they are. `portable` is whether merged weights
    are computed so that their bytes are the same on every processor."""

    dtype: str | None = None
    base: str | None = None
    max_shard: int | None = None
    portable: bool = False


class Relative(Struct, frozen=True, kw_only=True):
    """Another export of the same release: its format, with the quantization type where it has one, its repo, what its
    format is of the base, and in a few words whom it serves."""

    format: str
    quant: str | None
    repo_id: str
    relation: str
    serves: str = ""

    @property
    def name(self) -> str:
        """The format, and its quantization type where it has one: `ollama q4_k_m`."""
        return " ".join(filter(None, (self.format, self.quant)))


class Lineage(Struct, frozen=True, kw_only=True):
    """Where a repo stands in the Hub's tree of models: it is a `relation` (finetune, adapter, quantized, merge) of the
    model `parent`. `relatives` are the other exports that the run's release makes, which may share a repo."""

    parent: str
    relation: str
    relatives: tuple[Relative, ...] = ()

    @property
    def merged(self) -> str | None:
        """The repo of the merged model of the same release."""
        return next((other.repo_id for other in self.relatives if other.relation == MERGED), None)


class ExportJob(Struct, frozen=True, kw_only=True):
    """All that an export is made from. `settings` are the format's own; `title` names the model, `repo_id` where it
    will be; `moment` is the one clock of a release; `question` is what examples ask: a prompt that is verified.
    `revision` is the tag by which the repo has this version, where it has several; `shared` are the folders of what the
    format has the exports of a run share, by what they are. `found` are types of tensors that were found before, of an
    export that is there or is made once more; `measured_by` is the text that exports are measured by, None for the one
    that ships."""

    run: Run
    base: BaseFolder
    variant: Variant
    settings: Any
    policy: ExportPolicy
    title: str
    repo_id: str
    lineage: Lineage
    version: str | None
    moment: datetime
    namespace: str
    templates: Templates
    question: str = "Hello"
    revision: str | None = None
    shared: Mapping[str, Path] = field(default_factory=dict)
    found: FoundTypes | None = None
    measured_by: Path | None = None

    @property
    def nf4(self) -> Nf4 | None:
        """The 4 bits whose numbers the adapter is merged into, where the policy says so."""
        return self.run.nf4 if self.policy.base == NF4 else None


class Footprint(Struct, frozen=True, kw_only=True):
    """What an export needs, predicted from headers alone, in bytes; `work` is what `advance` counts. `beside` is what
    the disk holds while exports are compared, once for all of a base: what they are run beside. `seconds` is
    about how long it takes on two cores, at best and at worst as measured (docs/performance.md); None where that was
    not measured. `shared` is what `Format.share` needs for each part, once for all exports of a run; `by_file` is
    what the disk holds of an export that is sent file by file (`Format.export_by_file`), None for formats that cannot
    do that. `at_most` is whether `disk` is only a bound, as making the export finds how large it is."""

    disk: int
    memory: int
    work: int
    beside: int = 0
    seconds: tuple[float, float] | None = None
    shared: "Mapping[str, Footprint]" = field(default_factory=dict)
    by_file: int | None = None
    at_most: bool = False


class Usage(Struct, frozen=True, kw_only=True):
    """How a published export is used: a title, the language of the code for people's editors, the code."""

    title: str
    language: str
    code: str


class CardFacts(Struct, frozen=True, kw_only=True):
    """What the model card's front matter says of a format (facts of the Hub, not of a run). `relation` is what an
    export is of its base; a `quantized` one is that of the merged model that the same release publishes, and a finetune
    of the base where it publishes none. `text_only` is whether an export of a model that sees or hears reads text
    alone."""

    library_name: str
    relation: str
    tags: tuple[str, ...]
    text_only: bool = False


class Format(MadeOfParts, ABC):
    """A way to ship a model. What has a value or a body here is what most formats need not say.

    `name` is what `--format` and `[formats.X]` say. `runtime` is the name of the runtime that answers for its
    exports; `native` is that of the one which people run them by, where that is another: it is asked as well, where it
    is installed. `modules` are the importable packages of the optional dependencies that exporting needs, and `install`
    says how they are installed. `quants` are its quantization types, `name_rules` those of places beside the Hub
    that its model names and repo names go to. `templates` is the folder of its templates, `card.md.j2` among them,
    which are called `NAME/…`; None where tagship ships them. `shared_label` is what stands for `{label}` in the name
    of a repo that has all variants of a release (`[formats.X] together`); None where they cannot share one.
    `whole` is whether an export is a model by itself, and no part that runs beside another. `own_quants` is the table
    of release.toml that defines a quantization type of the policy's own, with `{}` for its name.
    """

    name: ClassVar[str]
    card: ClassVar[CardFacts]
    runtime: ClassVar[str]
    native: ClassVar[str | None] = None
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str | None] = None
    quants: ClassVar[tuple[str, ...]] = ()
    name_rules: ClassVar[tuple[NameRules, ...]] = ()
    templates: ClassVar[Path | None] = None
    shared_label: ClassVar[str | None] = None
    whole: ClassVar[bool] = True
    own_quants: ClassVar[str | None] = None

    def runtimes(self, *, native: bool) -> tuple[str, ...]:
        """The names of the runtimes that its exports are asked in; where `native`, that one is among them."""
        return tuple(name for name in (self.runtime, self.native if native else None) if name)

    @property
    def shared(self) -> Variant | None:
        """What of names a repo has that all variants share; None where they cannot share one."""
        if self.shared_label is None:
            return None
        return Variant(quant=None, kind=self.name, prefix=self.name, label=self.shared_label)

    def shared_path(self, variant: Variant, path: str) -> str:
        """What a file of an export is called in a repo that all variants share, where another's of that name has other
        content."""
        return path

    def configure(self, table: Reader, export: Reader) -> Any:
        """The format's own settings from its table of release.toml, and from keys of its own in `[export]`; mistakes
        are noted there. They are frozen values that can be pickled, and their `repr` tells them apart."""
        return None

    def named(self, table: Reader, key: str, default: str) -> tuple[str, ...]:
        """Those of `quants` that a key of the format's table names; none of them is a mistake."""
        found = table.choices(key, (default,), self.quants)
        if not table.texts(key, (default,)):
            table.note(key, "is empty: name at least one, or leave the format out")
        return found or (default,)

    def with_options(self, settings: Any, given: Mapping[str, str]) -> Any:
        """The settings with what the command line says, by the names of options (`tagship.options`). Raises
        UsageError."""
        return settings

    def quants_of(self, settings: Any) -> tuple[str, ...]:
        """Its quantization types, with those that the settings make."""
        return self.quants

    def variants_of(self, first: str, quants: Sequence[str], label: str) -> tuple[Variant, ...]:
        """A variant for each quantization type, whose names have a `label` with the type in place of `{}`; the policy's
        `first` has the format's plain name, as variants must not share an export folder."""
        return tuple(
            Variant(
                quant=quant,
                kind=self.name if quant == first else f"{self.name}_{quant}",
                prefix=f"{self.name}-{quant}",
                label=label.format(quant),
            )
            for quant in quants
        )

    def variants(self, settings: Any, quants: Sequence[str]) -> tuple[Variant, ...]:
        """What to export: by the settings, or by `quants` where the options name some."""
        return (Variant(quant=None, kind=self.name, prefix=self.name, label=self.name),)

    def serves(self, variant: Variant) -> str:
        """In a few words, whom an export serves: the cards of the same release's other repos say it."""
        return ""

    def facts(self, variant: Variant) -> CardFacts:
        """What the Hub is told of a variant: of all of them the same, where a format does not say otherwise."""
        return self.card

    def settings_of(self, settings: Any, variant: Variant) -> Any:
        """What of the settings an export of a variant is made by: changing the rest leaves it as it is."""
        return settings

    def inputs(self, settings: Any) -> tuple[Path, ...]:
        """Files beside run and base that its exports are made from: when one of them changes, exports are made
        again."""
        return ()

    def tensors(self, settings: Any, variant: Variant) -> Mapping[str, str]:
        """Types that are chosen for tensors by patterns of their names, the first that fits first: the plan, the
        manifest and the card say them."""
        return {}

    @abstractmethod
    def footprint(self, job: ExportJob) -> Footprint:
        """Predict what `export` will need, from headers alone: the base's weights may be files without their bytes.
        Raises ReleaseError for what cannot be exported."""

    def examine(self, jobs: Sequence[ExportJob]) -> None:
        """Raise ReleaseError for what cannot be exported, where that takes seconds to find out: a release does so
        before the first export of any format, which may take hours. The jobs are of one base."""
        return None

    @abstractmethod
    def export(self, parts: Sequence[tuple[ExportJob, Path]], advance: Advance) -> Mapping[Path, str] | None:
        """Fill a folder with the export of each job; the jobs are of one base, so that it need be read but once.
        Returns the SHA-256, in hexadecimal, of files that were digested while they were written: others are read.

        A folder may hold files that a killed run of the same export wrote: those with names of their own are
        whole, and may be kept. Raises ReleaseError when an export cannot be made."""

    def export_by_file(self, job: ExportJob, folder: Path, advance: Advance) -> Iterator[tuple[Path, str | None]]:
        """As `export`, where the disk has no room for a whole export: each file of weights is given when it is whole,
        with its SHA-256 where that is known, and has its header alone when the next one is asked for
        (`weights/remade.py`)."""
        raise NotImplementedError(f"{self.name} is not exported file by file")

    def digests(self, job: ExportJob) -> Iterator[tuple[str, str]]:
        """The name of each file of weights that `export_by_file` gives, and the SHA-256 that it has if it is made once
        more, which is not kept."""
        raise NotImplementedError(f"{self.name} is not exported file by file")

    def remade(self, job: ExportJob, subject: Subject) -> Subject:
        """The subject of an export that was sent file by file, whose weights are made again as they are run."""
        raise NotImplementedError(f"{self.name} is not exported file by file")

    @abstractmethod
    def subject(self, job: ExportJob, folder: Path, questions: Questions) -> Subject:
        """What the runtime runs to let the export in `folder` answer. Raises ReleaseError when it is not what
        `export` makes."""

    def beside(self, job: ExportJob, subject: Subject, folder: Path) -> Subject:
        """What runs the export, with the model that it needs beside it: for an export that is no model by itself, that
        is made in `folder`, which is there until the task ends, unless it is there already. Raises ReleaseError where
        it cannot be made."""
        return subject

    def check_copy(self, job: ExportJob, folder: Path) -> bool:
        """Whether an export is a copy of the run's own weights, which are then not run again. Raises ReleaseError for
        one that should be, and is another."""
        return False

    def draft(self, job: ExportJob, folder: Path, questions: Questions, room: int) -> Subject | None:
        """Make a model in `folder` that writes answers much like the trained one, and faster; None where the format has
        none, or the disk no room for one. `room` is the bytes of it that memory holds: what is larger is read from the
        disk for each token. `job` may be another format's. Raises ReleaseError where it cannot be made."""
        return None

    @abstractmethod
    def limits(self, variant: Variant) -> Limits:
        """How far an export may be from base + adapter, where the policy does not say it."""

    def limits_of(self, settings: Any, variant: Variant) -> Limits:
        """The same, of a variant that the settings describe."""
        return self.limits(variant)

    @abstractmethod
    def usages(self, job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
        """How people use what is published, for the model card; `files` are the names of the export's files."""

    @abstractmethod
    def use_line(self, job: ExportJob, files: Sequence[str]) -> str:
        """The one line of Python or shell that uses what is published."""
