"""Answers that are held against JSON schemas. The library that knows them is imported where a schema is met."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from tagship.evaluation.scoring import Scorer
from tagship.evaluation.text_scorers import MEMORY, SECONDS
from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install
from tagship.system.limits import bounded

# Chat models put JSON between lines of three backticks, and words around it.
_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:json)?[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


def json_schema(schema: Any) -> Scorer:
    """One point for an answer that is JSON and satisfies a schema.

    `format` is held against what the library can check without further packages (date, email, ipv4, uuid and others).
    Raises ValueError for what is no schema or refers to what is not in it, ReleaseError where the library is not
    installed. The scorer raises TimeoutError, MemoryError or RecursionError for a schema that does not come to an end.
    """
    validator = _validator(schema)

    def points(answer: str) -> float:
        try:
            document = parse_answer(answer)
        except ValueError:
            return 0.0
        with bounded(SECONDS, MEMORY):
            return float(validator.is_valid(document))

    return points


def parse_answer(answer: str) -> Any:
    """The JSON that an answer is, or that stands in its first fence of ```json. Raises ValueError."""
    try:
        return parse_json(answer)
    except ValueError:
        if (fenced := _FENCE.search(answer)) is None:
            raise
        return parse_json(fenced[1])


def parse_json(text: str) -> Any:
    """JSON, without what Python adds to it (NaN), and with no key twice in an object. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return document


def _validator(schema: Any) -> Any:
    if not isinstance(schema, dict):
        raise ValueError("is no JSON schema: it must be an object")
    try:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY
    except ImportError:
        raise ReleaseError(
            "not installed: jsonschema, by which answers are scored", remedy=how_to_install("verify")
        ) from None
    dialect: Any = schema.get("$schema", Draft202012Validator.META_SCHEMA["$schema"])
    kind = validator_for({"$schema": dialect}, default=None) if isinstance(dialect, str) else None
    if kind is None:
        raise ValueError(f"is a JSON schema of an unknown kind: {dialect!r:.100}")
    try:
        kind.check_schema(schema)
        # Of this registry, which has the schemas of schemas: where none is given, the library asks the network.
        validator = kind(schema, registry=REGISTRY, format_checker=kind.FORMAT_CHECKER)
        for reference in _unresolvable(schema, dialect):
            raise ValueError(f"refers to {reference!r}, which is not in it: put it under $defs")
        validator.is_valid(None)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(f"is no JSON schema: {f'at {where}, ' * bool(where)}{error.message:.200}") from None
    except RecursionError:
        raise ValueError("is a JSON schema that refers to itself without end") from None
    return validator


def _unresolvable(schema: Mapping[str, Any], dialect: str) -> Iterator[str]:
    """The references in a schema that lead nowhere: else only the answers that reach them would tell."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    root = specification_with(dialect).create_resource(schema)
    left = [(root, REGISTRY.resolver_with_root(root))]
    while left:
        resource, resolver = left.pop()
        if isinstance(resource.contents, Mapping) and "$ref" in resource.contents:
            try:
                resolver.lookup(resource.contents["$ref"])
            except Unresolvable:
                yield resource.contents["$ref"]
        left += [(part, resolver.in_subresource(part)) for part in resource.subresources()]
