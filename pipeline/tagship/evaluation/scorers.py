"""The scorer of each case, and what its verdict depends on."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from tagship.evaluation.command_scorer import Command, score_by_command
from tagship.evaluation.json_scorer import json_schema, parse_json
from tagship.evaluation.scoring import COMMAND, EXACT, JSON_SCHEMA, REGEX, Scorer, Scoring
from tagship.evaluation.text_scorers import exact, regex
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import sha256_of
from tagship.system.git_lfs import refuse_pointer


class Scorers:
    """Makes scorers by what a policy says; its schema is read once, when a case needs it."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    def of(self, score: str, prompt: str, expected: Any) -> Scorer:
        """The scorer of a case. Raises ValueError with what is wrong with the case's `expected`, ReleaseError where the
        schema's file is not as it should be."""
        if score == EXACT:
            return exact(expected)
        if score == REGEX:
            return regex(expected)
        return self._by_schema(expected) if score == JSON_SCHEMA else self._by_command(prompt, expected)

    def basis(self, score: str) -> Any:
        """What the verdict on a case depends on besides the case: it is of JSON."""
        if score == JSON_SCHEMA:
            return self._schema
        if score == COMMAND:
            return self._program
        return None

    def _by_schema(self, expected: Any) -> Scorer:
        scorers = [*self._general, *([] if expected is None else [json_schema(expected)])]
        if not scorers:
            raise ValueError("is missing: give it a JSON schema, or give one for all by [evaluate] schema")
        return lambda answer: min(scorer(answer) for scorer in scorers)

    def _by_command(self, prompt: str, expected: Any) -> Scorer:
        if not (words := self._scoring.command):
            raise ValueError("needs a program that scores: give [evaluate] command in release.toml")
        command = Command(words=words, folder=self._scoring.folder)
        return lambda answer: score_by_command(command, {"prompt": prompt, "answer": answer, "expected": expected})

    @cached_property
    def _program(self) -> list[list[str | None]]:
        """The words of the command, each with the digest of the project's file that it names, such as a script."""
        folder = self._scoring.folder.resolve()
        # By os.path: a word may be a whole program, which pathlib refuses as too long a name.
        paths = [Path(os.path.realpath(folder / word)) for word in self._scoring.command]
        own = [path.is_relative_to(folder) and os.path.isfile(path) for path in paths]
        words = zip(self._scoring.command, paths, own, strict=True)
        return [[word, sha256_of(path) if is_own else None] for word, path, is_own in words]

    @cached_property
    def _schema(self) -> Any:
        path = self._scoring.schema
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read: {error.strerror}", remedy="correct [evaluate] schema in release.toml"
            ) from None
        refuse_pointer(path, content)
        try:
            return parse_json(content.decode("utf-8-sig"))
        except ValueError as error:
            raise ReleaseError(f"{path} is not valid JSON: {error}") from None

    @cached_property
    def _general(self) -> list[Scorer]:
        """By the policy's schema, where there is one."""
        if self._scoring.schema is None:
            return []
        try:
            return [json_schema(self._schema)]
        except ValueError as error:
            raise ReleaseError(f"{self._scoring.schema} {error}") from None
