"""The JSON Schema of release.toml, for editors: made by reading a policy that has everything, and noting what is asked.

What a key means is in `keys.toml`, which a test holds against what is asked for. `python -m tagship.policy.schema`
writes the file that ships.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import tomli

from tagship.formats import registry
from tagship.policy.config import config_of
from tagship.system.toml_reader import Reader

T = TypeVar("T")
Schema = dict[str, Any]

SCHEMA_FILE = "release.schema.json"
_MEANINGS = Path(__file__).with_name("keys.toml")
# Stands for any key where the policy's author names things.
ANY = "*"
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}


def schema_of(forms: Sequence[str]) -> Schema:
    """The schema of policies of these formats."""
    root = _Asked({"additionalProperties": False})
    config_of(_Recorder(_everything(forms), "", [], Path(), root), Path("release.toml"), {})
    made = _finished(root.schema, "", meanings())
    for table in ("formats", "export"):  # other packages add to these
        made["properties"][table]["additionalProperties"] = True
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "tagship's release.toml", **made}


def keys_of(schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Every key of a schema, with dots; `*` is whatever the author calls it."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{where}{name}"
        yield from keys_of(inner, f"{where}{name}.")
    if isinstance(free := schema.get("additionalProperties"), dict):
        yield f"{where}{ANY}"
        yield from keys_of(free, f"{where}{ANY}.")
    if isinstance(items := schema.get("items"), dict):
        yield from keys_of(items, where)


def meaning_of(key: str, meanings: Mapping[str, str]) -> str | None:
    """What a key means: by itself, or by the pattern that fits it."""
    return meanings.get(key) or next((meanings[known] for known in meanings if fnmatchcase(key, known)), None)


def meanings() -> Mapping[str, str]:
    """What `keys.toml` says."""
    return tomli.loads(_MEANINGS.read_text(encoding="utf-8"))


def _everything(forms: Sequence[str]) -> dict[str, Any]:
    """A policy with a table of each kind, and what has others asked for."""
    quants: dict[str, dict[str, Any]] = {quant: {} for form in forms for quant in registry.find_format(form).quants}
    versions = {"stream": "x-v{version}"}
    return {
        "naming": {
            "bases": {ANY: "x"},
            "fields": {ANY: "word"},
            "older": {"artifact": [{}], "repo": [{}]},
        },
        "tags": {ANY: {"pattern": "x-v{version}"}},
        "versions": {"aliases": {ANY: "feat"}},
        "formats": {form: {**versions, "tensors": {ANY: "x"}, "mixes": {ANY: {}}} for form in forms},
        "bases": {ANY: {}},
        "verify": {"limits": quants, "kl": {}},
        "evaluate": {"file": "x", "schema": "x"},
        "migrate": {ANY: "x"},
    }


class _Asked:
    """What was asked of a table so far, as a schema."""

    def __init__(self, more: Schema) -> None:
        self.schema: Schema = {"type": "object", "properties": {}, **more}
        self.quiet = False
        self.tables: set[str] = set()  # keys that may be of a table as well


class _Recorder(Reader):
    """A table that notes what it is asked for. Getters call each other: only the outermost is noted."""

    def __init__(
        self, table: Mapping[str, Any], where: str, problems: list[str], folder: Path, asked: _Asked | None = None
    ) -> None:
        super().__init__(table, where, problems, folder)
        self._noted = asked or _Asked({"additionalProperties": False})

    @contextmanager
    def _noting(self, key: str, schema: Schema, default: Any = None) -> Iterator[None]:
        if not self._noted.quiet:
            known = self._noted.schema["properties"].setdefault(key, {})
            known.update(schema, **({} if default in (None, "", (), []) else {"default": _plain(default)}))
            if key in self._noted.tables:
                known["type"] = [known["type"], "object"]
        before, self._noted.quiet = self._noted.quiet, True
        try:
            yield
        finally:
            self._noted.quiet = before

    def is_table(self, key: str) -> bool:
        self._noted.tables.add(key)
        return super().is_table(key)

    def text(self, key: str, default: str = "") -> str:
        with self._noting(key, {"type": "string"}, default):
            return super().text(key, default)

    def optional_text(self, key: str) -> str | None:
        with self._noting(key, {"type": "string"}):
            return super().optional_text(key)

    def path(self, key: str, default: str) -> Path:
        with self._noting(key, {"type": "string"}, default):
            return super().path(key, default)

    def optional_path(self, key: str) -> Path | None:
        with self._noting(key, {"type": "string"}):
            return super().optional_path(key)

    def flag(self, key: str, default: bool) -> bool:
        with self._noting(key, {"type": "boolean", "default": default}):
            return super().flag(key, default)

    def optional_flag(self, key: str) -> bool | None:
        with self._noting(key, {"type": "boolean"}):
            return super().optional_flag(key)

    def count(self, key: str, default: int) -> int:
        with self._noting(key, {"type": "integer", "minimum": 1}, default):
            return super().count(key, default)

    def number(self, key: str) -> float | None:
        with self._noting(key, {"type": "number", "exclusiveMinimum": 0}):
            return super().number(key)

    def fraction(self, key: str, default: T) -> float | T:
        with self._noting(key, {"type": "number", "minimum": 0, "maximum": 1}, default):
            return super().fraction(key, default)

    def texts(self, key: str, default: Sequence[str]) -> tuple[str, ...]:
        with self._noting(key, _STRINGS, default):
            return super().texts(key, default)

    def choices(self, key: str, default: Sequence[str], allowed: Collection[str]) -> tuple[str, ...]:
        with self._noting(key, {"type": "array", "items": {"enum": list(allowed)}}, default):
            return super().choices(key, default, allowed)

    def choice(self, key: str, default: str, allowed: Collection[str]) -> str:
        with self._noting(key, {"enum": [value for value in allowed if value]}, default):
            return super().choice(key, default, allowed)

    def required(self, key: str, meaning: str) -> str:
        with self._noting(key, {"type": "string", "minLength": 1}):
            self._noted.schema.setdefault("required", [])
            if key not in self._noted.schema["required"]:
                self._noted.schema["required"].append(key)
            return super().required(key, meaning)

    def parsed(self, key: str, default: str, parse: Callable[[str], T]) -> T:
        with self._noting(key, {"type": "string"}, default):
            return super().parsed(key, default, parse)

    def table(self, key: str) -> Reader:
        value = self._table.get(key, {})
        with self._noting(key, {}):
            self._get(key)
        noted = _Asked({"additionalProperties": False})
        noted.schema = self._noted.schema["properties"][key]
        for name, empty in _Asked({"additionalProperties": False}).schema.items():
            noted.schema.setdefault(name, empty)
        return _Recorder(value, self._dotted(key), self.problems, self._folder, noted)

    def list_of_tables(self, key: str) -> list[Reader]:
        with self._noting(key, {"type": "array"}):
            self._get(key)
        noted = _Asked({"additionalProperties": False})
        noted.schema = self._noted.schema["properties"][key].setdefault("items", noted.schema)
        values = self._table.get(key, [{}])
        return [_Recorder(value, self._dotted(key), self.problems, self._folder, noted) for value in values]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _finished(schema: Schema, where: str, known: Mapping[str, str]) -> Schema:
    """A schema with the meanings of its keys, and what stands for any key as JSON Schema has it."""
    made = dict(schema)
    if ANY in where.split("."):
        made.pop("default", None)  # it is that of one of several
    if "properties" in made.get("items", {}):
        made["items"] = _finished(made["items"], where, {name: told for name, told in known.items() if name != where})
    if "properties" in made:
        within = f"{where}." if where else ""
        inner = {name: _finished(each, f"{within}{name}", known) for name, each in made.pop("properties").items()}
        made["additionalProperties"] = inner.pop(ANY, False)
        made |= {"properties": inner} if inner else {}
    told = meaning_of(where, known)
    return {"description": told, **made} if told else made


def write_schema(folder: Path) -> Path:
    """Write the schema of tagship's own formats."""
    path = folder / SCHEMA_FILE
    path.write_text(
        json.dumps(schema_of(registry.shipped_names()), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return path


if __name__ == "__main__":
    print(write_schema(Path("docs")))
