"""JSON files of other programs: an object, or a message that says what is wrong with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.system.files import check_is_file
from tagship.system.git_lfs import refuse_pointer

# No library nests its configuration like this, and what walks through one would run out of stack.
_DEEPEST = 100
_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"


def read_object(path: Path, what: str | None = None) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file.

    Raises ReleaseError, in which `what` names the file, when it is no JSON or no object, or was not fetched.
    """
    if not path.exists():
        return {}
    check_is_file(path)
    content = path.read_bytes()
    refuse_pointer(path, content)
    return parse_object(content, what or str(path))


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """The object that some bytes are in JSON. Raises ReleaseError, in which `what` names them, for anything else, and
    for what can be neither walked through nor written again."""
    try:
        document = json.loads(content.decode("utf-8"))
        if not isinstance(document, dict):
            raise ReleaseError(f"{what} is not a JSON object", remedy="save it again")
        _check(document)
    except RecursionError:
        raise ReleaseError(f"{what} is not valid JSON: {_TOO_DEEP}", remedy="save it again") from None
    except ValueError as error:
        raise ReleaseError(f"{what} is not valid JSON: {error}", remedy="save it again") from None
    return document


def _check(document: Mapping[str, Any]) -> None:
    """Raise ValueError for a document that is nested too deep, or has half a character in a text."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise ValueError(_TOO_DEEP)
