"""The ways in which an answer is scored, and what a policy says of them: the common tongue of cases and scorers."""

import os
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

EXACT, REGEX, JSON_SCHEMA, COMMAND = SCORES = ("exact", "regex", "json_schema", "command")

Scorer = Callable[[str], float]
"""Gives an answer its points, from 0 to 1."""


class Scoring(Struct, frozen=True, kw_only=True):
    """How cases are scored that do not say it themselves.

    `default` is one of SCORES. `schema` is a file with the JSON schema that every answer which is scored by one has to
    satisfy. `command` are the words of the program that scores, run in `folder`.
    """

    default: str = EXACT
    schema: Path | None = None
    command: tuple[str, ...] = ()
    folder: Path = Path(os.curdir)
