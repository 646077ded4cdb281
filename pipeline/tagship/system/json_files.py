"""JSON files of other programs: an object, or a message that says what is wrong with it."""

import json
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import refuse_pointer


def read_object(path: Path, what: str | None = None) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file.

    Raises ReleaseError, in which `what` names the file, when it is no JSON or no object, or was not fetched.
    """
    if not path.is_file():
        return {}
    content = path.read_bytes()
    refuse_pointer(path, content)
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{what or path} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ReleaseError(f"{what or path} is not a JSON object")
    return document
