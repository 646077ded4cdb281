"""What a task ends with: a document for programs, and an exit code. Here it is rendered, wherever it goes."""

import json
from typing import Any

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.shown import masked, visible_json


class Outcome(Struct, frozen=True, kw_only=True):
    """How a task ended; `document` is None for one that has none, or that printed it piece by piece."""

    document: Any = None
    code: int = 0


def failed(error: ReleaseError) -> Outcome:
    """The outcome of a task that failed: its document says what people were told."""
    return failure(str(error), error.remedy, error.exit_code)


def failure(text: str, remedy: str | None, code: int) -> Outcome:
    """As `failed`, of what is no ReleaseError."""
    return Outcome(document={"error": masked(text), "remedy": masked(remedy) if remedy else None}, code=code)


def rendered(outcome: Outcome) -> str:
    """The document as `--json` prints it, with a line feed at the end; nothing where there is none."""
    if outcome.document is None:
        return ""
    return visible_json(json.dumps(outcome.document, indent=2, ensure_ascii=False)) + "\n"
