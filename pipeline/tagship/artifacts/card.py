"""A model card: front matter, and a body from `templates/<format>/card.md.j2`."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from tagship.artifacts.card_metadata import front_matter, license_link
from tagship.artifacts.manifest import CARD_FILE, FileEntry, Manifest
from tagship.formats.protocol import ExportJob, Format, Lineage, Usage
from tagship.policy.card import CardPolicy
from tagship.policy.config import Config
from tagship.runs.base import HUGGING_FACE
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import GENERATION_FILE, context_length, model_files
from tagship.runs.recorded import METRIC, METRICS, publishable
from tagship.system.shown import visible
from tagship.system.templating import Templates
from tagship.verify.evidence import EXPORT, Evidence, Measured
from tagship.weights.adapter_config import AdapterConfig

# What of a generation config people set themselves.
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
_FENCE = re.compile(r"`{3,}")


class CardPart(Struct, frozen=True, kw_only=True):
    """One of several exports that share a repo: its manifest, with the files as they are called there, whom it serves,
    and the one line that uses it."""

    manifest: Manifest
    serves: str
    use_line: str

    @property
    def name(self) -> str:
        """The format and its quantization type: `ollama q4_k_m`."""
        return " ".join(filter(None, (self.manifest.format, self.manifest.quant)))

    @property
    def evidence(self) -> Evidence | None:
        """What was shown of it."""
        return self.manifest.shown()


class CardSeals(Struct, frozen=True, kw_only=True):
    """What there will be to check a repo by: the id of the key that it is signed by, and that key's file in the
    repository, where they are known; whether it is signed by a job of CI, without a key; whether it has a `provenance`,
    and a bill of materials (`sbom`)."""

    signed: bool = False
    keyless: bool = False
    key_id: str | None = None
    public_key: str | None = None
    provenance: bool = False
    sbom: bool = False


class CardSources(Struct, frozen=True, kw_only=True):
    """What a card says beyond its own export and the policy.

    `notes` are the version's, and `same_model` is whether they are of a model that did not change; `before` is the
    version before it and its page on the Hub, `web` the page of the repository and `commit_url` that of the commit;
    `sizes` are about those of the release's exports, in bytes, and `shown` what was measured of them, by the format and
    its quantization type (`ollama q4_k_m`). `parts` are the exports that share the repo, where several do; `seals` is
    what they are checked by, None where there is nothing.
    """

    notes: str | None = None
    same_model: bool = False
    before: tuple[str, str] | None = None
    web: str | None = None
    commit_url: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    shown: Mapping[str, Measured] = field(default_factory=dict)
    parts: tuple[CardPart, ...] = ()
    seals: CardSeals | None = None


class CardContext(Struct, frozen=True, kw_only=True):
    """What a card's template is given: the export's names, what it was made from and by what policy, and how it is
    used. `policy` is what `[export]` says, with the format's own `settings` where those have names; `card` is what
    `[card]` says. `recorded` is what the trainer recorded and may be published, `measured` what of that was measured.
    `evidence` is what verifying this export showed, or the first of its `parts`, None where nothing did; `context` how
    many tokens the model reads at once, `sampling` what its generation config says. `serves` is whom this export
    serves, `bibtex` how it is cited, `revision` the tag of the version where the repo has several. The rest are those
    of CardSources."""

    title: str
    namespace: str
    manifest: Manifest
    base: BaseFolder
    license_link: str | None
    adapter: AdapterConfig
    lineage: Lineage
    serves: str
    recorded: Mapping[str, str]
    measured: Mapping[str, str]
    usages: tuple[Usage, ...]
    files: tuple[FileEntry, ...]
    policy: Mapping[str, Any]
    settings: Any
    card: CardPolicy
    evidence: Evidence | None
    context: int | None
    sampling: Mapping[str, Any]
    notes: str | None
    same_model: bool
    before: tuple[str, str] | None
    web: str | None
    commit_url: str | None
    sizes: Mapping[str, int]
    shown: Mapping[str, Measured]
    parts: tuple[CardPart, ...]
    seals: CardSeals | None
    bibtex: str
    revision: str | None


_GIVEN = CardContext.__struct_fields__


def check_card(form: Format, templates: Templates) -> None:
    """Raise ReleaseError when a format has no template for its card, or it asks for what no card is given."""
    templates.check(_template(form), _GIVEN)


def render_card(form: Format, job: ExportJob, manifest: Manifest, config: Config, sources: CardSources) -> str:
    """The README.md of an export.

    Raises ReleaseError when a template asks for what is not known, or the Hub would refuse the front matter.
    """
    given = _context(form, job, manifest, config, sources)
    body = job.templates.render(_template(form), **{name: getattr(given, name) for name in _GIVEN})
    scored = (given.evidence.evaluation or {}).get(EXPORT) if given.evidence else None
    front = front_matter(job, form.facts(job.variant), config.card, scored)
    return visible(f"---\n{front.strip()}\n---\n\n{_without_gaps(body)}\n")


def _context(form: Format, job: ExportJob, manifest: Manifest, config: Config, sources: CardSources) -> CardContext:
    of_model = model_files(job.base, job.run.path)
    generation = of_model.document(GENERATION_FILE)
    rows = flatten(publishable(job.run.recorded, config.naming.own_fields))
    measured = {key: value for key, value in rows.items() if _is_measured(key)}
    main = sources.parts[0].manifest if sources.parts else manifest
    return CardContext(
        title=job.title,
        namespace=job.namespace,
        manifest=manifest,
        base=job.base,
        license_link=license_link(job),
        adapter=job.run.adapter,
        lineage=job.lineage,
        serves=form.serves(job.variant),
        recorded={key: value for key, value in rows.items() if key not in measured},
        measured=measured,
        usages=form.usages(job, [entry.path for entry in main.files]),
        files=tuple(entry for entry in manifest.files if entry.path != CARD_FILE),
        policy=_named(job.policy) | _named(job.settings),
        settings=job.settings,
        card=config.card,
        evidence=main.shown(),
        context=context_length(of_model),
        sampling={key: generation[key] for key in _SAMPLING if generation.get(key) is not None},
        bibtex=_bibtex(job, manifest),
        revision=job.revision,
        **_named(sources),
    )


def _bibtex(job: ExportJob, manifest: Manifest) -> str:
    def braced(text: str) -> str:
        return "{" + " ".join(re.sub(r"[{}\\]", "", text).split()) + "}"

    fields = {
        "title": braced(job.title),
        "author": braced(job.namespace),
        "year": braced(str(manifest.exported.year)),
        "howpublished": f"{{\\url{{{HUGGING_FACE}/{job.repo_id}}}}}",
    }
    listed = "".join(f"  {key} = {value},\n" for key, value in fields.items())
    return f"@misc{{{job.repo_id.rpartition('/')[2]},\n{listed}}}"


def _without_gaps(body: str) -> str:
    """Markdown with single blank lines, but within blocks of code: parts that say nothing leave some behind."""
    kept: list[str] = []
    fence = ""
    for line in body.strip().split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[0]
        if line.strip() or fence or (kept and kept[-1].strip()):
            kept.append(line)
    return "\n".join(kept)


def flatten(recorded: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """What a run recorded, as rows of a table: nested keys joined by a dot."""
    rows: dict[str, str] = {}
    for key, value in recorded.items():
        if isinstance(value, Mapping):
            rows |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, datetime):
            rows[prefix + key] = value.isoformat()
        elif isinstance(value, list):
            rows[prefix + key] = ", ".join(map(str, value))
        elif value is not None:
            rows[prefix + key] = str(value)
    return rows


def _is_measured(key: str) -> bool:
    group, _, name = key.lower().rpartition(".")
    return bool(METRIC.search(name)) or group.split(".")[0] in METRICS


def _named(values: Any) -> dict[str, Any]:
    return {name: getattr(values, name) for name in values.__struct_fields__} if isinstance(values, Struct) else {}


def _template(form: Format) -> str:
    return f"{form.name}/card.md.j2"
