"""What verifying saw of an export, kept for its card: an answer, and what was found of its prompts.

It is of the very files that were verified, whose digests are kept with it; without it a card leaves those parts out.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tagship.artifacts.manifest import CARD_FILE, Manifest
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.system.files import write_json
from tagship.verify.evidence import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a card says of a verification."""

    example: Example | None = None
    unlike: tuple[str, ...] = ()


def remember(plan: Plan, target: Target, manifest: Manifest, seen: Seen) -> None:
    """Keep what was seen of an export."""
    path = _path(plan, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"files": _digest(manifest), **asdict(seen)})


def recall(plan: Plan, target: Target, manifest: Manifest) -> Seen:
    """What was seen of an export with these files; nothing where they are others, or nobody looked."""
    try:
        document = json.loads(_path(plan, target).read_text(encoding="utf-8"))
        if document["files"] != _digest(manifest):
            return Seen()
        example = document["example"]
        return Seen(example=Example(**example) if example else None, unlike=tuple(document["unlike"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Seen()


def _path(plan: Plan, target: Target) -> Path:
    return plan.config.state / "seen" / f"{target.export_dir.name}.json"


def _digest(manifest: Manifest) -> str:
    """Of all files but the card, which is made of what is kept."""
    listed = [f"{entry.sha256} {entry.path}" for entry in manifest.files if entry.path != CARD_FILE]
    return hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()
