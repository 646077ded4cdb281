"""A model card: front matter, and a body from `templates/<format>/card.md.j2`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any

from tagship.artifacts.card_metadata import front_matter
from tagship.artifacts.manifest import CARD_FILE, FileEntry, Manifest
from tagship.formats.protocol import ExportJob, Format, Usage
from tagship.policy.config import Config
from tagship.runs.base_folder import BaseFolder
from tagship.runs.recorded import publishable
from tagship.system.templating import Templates
from tagship.verify.questions import Limits
from tagship.weights.adapter_config import AdapterConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContext:
    """What a card's template is given: the export's names, what it was made from and by what policy, how it is used
    and how near its answers have to be. `policy` is what `[export]` says, with the format's own `settings` where those
    have names; `recorded` is what the trainer recorded and may be published, `notes` are the version's, `prompts` is
    how many are asked."""

    title: str
    namespace: str
    manifest: Manifest
    base: BaseFolder
    adapter: AdapterConfig
    recorded: Mapping[str, str]
    usages: tuple[Usage, ...]
    files: tuple[FileEntry, ...]
    policy: Mapping[str, Any]
    settings: Any
    limits: Limits
    notes: str | None
    prompts: int


_GIVEN = tuple(field.name for field in fields(CardContext))


def check_card(form: Format, templates: Templates) -> None:
    """Raise ReleaseError when a format has no template for its card, or it asks for what no card is given."""
    templates.check(_template(form), _GIVEN)


def render_card(form: Format, job: ExportJob, manifest: Manifest, config: Config, notes: str | None) -> str:
    """The README.md of an export; `notes` are its version's.

    Raises ReleaseError when a template asks for what is not known.
    """
    context = CardContext(
        title=job.title,
        namespace=job.namespace,
        manifest=manifest,
        base=job.base,
        adapter=job.run.adapter,
        recorded=flatten(publishable(job.run.recorded, config.naming.own_fields)),
        usages=form.usages(job, [entry.path for entry in manifest.files]),
        files=tuple(entry for entry in manifest.files if entry.path != CARD_FILE),
        policy=_named(job.policy) | _named(job.settings),
        settings=job.settings,
        limits=form.limits(job.variant, config.verify.kl),
        notes=notes,
        prompts=len(config.verify.prompts),
    )
    body = job.templates.render(_template(form), **{name: getattr(context, name) for name in _GIVEN})
    front = front_matter(job.title, job.base, form.card, config.card, job.version)
    return f"---\n{front.strip()}\n---\n\n{body.strip()}\n"


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


def _named(settings: Any) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(settings)} if is_dataclass(settings) else {}


def _template(form: Format) -> str:
    return f"{form.name}/card.md.j2"
