"""The rules that Ollama has for the names of models."""

import re

from tagship.hub_server.name_rules import first_broken
from tagship.naming.name_rules import PLUS_IN_REPO_NAMES, NameRules

LONGEST = 80


def _ollama_problem(name: str) -> str | None:
    """ollama, types/model/name.go, isValidPart."""
    return first_broken(
        (not name, "must not be empty"),
        (len(name) > LONGEST, f"has {len(name)} characters; Ollama allows {LONGEST}"),
        (re.search(r"[^A-Za-z0-9._-]", name), "may only have letters, digits, '.', '_' and '-'"),
        (not re.match(r"[A-Za-z0-9_]", name), "must start with a letter, a digit or '_'"),
    )


def _nearest_ollama(name: str) -> str:
    near = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("+", PLUS_IN_REPO_NAMES))
    return near.lstrip("-.")[:LONGEST] or "model"


OLLAMA = NameRules(name="Ollama", problem=_ollama_problem, nearest=_nearest_ollama)
