"""A model card: front matter, and a body from `templates/cards/<format>.md.j2`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tagship.artifacts.card_metadata import front_matter
from tagship.artifacts.manifest import CARD_FILE, Manifest
from tagship.formats.protocol import ExportJob, Format
from tagship.policy.config import Config


def render_card(form: Format, job: ExportJob, manifest: Manifest, config: Config, notes: str | None) -> str:
    """The README.md of an export; `notes` are its version's.

    Raises ReleaseError when a template asks for what is not known.
    """
    body = job.templates.render(
        f"cards/{form.name}.md.j2",
        title=job.title,
        namespace=job.namespace,
        manifest=manifest,
        base=job.base,
        adapter=job.run.adapter,
        recorded=flatten(job.run.recorded),
        usages=form.usages(job, [entry.path for entry in manifest.files]),
        files=[entry for entry in manifest.files if entry.path != CARD_FILE],
        policy=job.policy,
        limits=form.limits(job.variant, config.verify.kl),
        notes=notes,
        prompts=len(config.verify.prompts),
    )
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
