"""Writes docs/reference/: what the program itself knows of its tasks, release.toml, release.json and exit codes.

`python -m docs.site.reference` writes the pages; a test says when that is due.
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import tomli
from invoke.parser import ParserContext
from msgspec import Struct
from tagship.artifacts.manifest import MANIFEST_FILE, Manifest
from tagship.cli.help import group_of, paragraphs, spelled, usage_of
from tagship.cli.program import collection
from tagship.cli.shell import INTERRUPTED, TERMINATED
from tagship.formats.registry import shipped_names
from tagship.history.model import ModelState
from tagship.policy.schema import ANY, SCHEMA_FILE, schema_of
from tagship.system.errors import ReleaseError, UsageError

FOLDER = Path(__file__).parents[1] / "reference"
_MEANINGS = Path(__file__).with_name("manifest.toml")
_MADE = "<!-- Made by `python -m docs.site.reference`: what is changed here is lost. -->"
# Of what a manifest holds as a plain object, the class that it is an object of.
_OBJECTS = {"model": ModelState}


def pages() -> dict[str, str]:
    """Every page of the reference by the name of its file."""
    made = {"tasks.md": _tasks(), "release-toml.md": _policy(), "manifest.md": _manifest(), "exit-codes.md": _codes()}
    return {name: "\n".join([_MADE, "", *lines]).rstrip() + "\n" for name, lines in made.items()}


def _tasks() -> Iterator[str]:
    yield "# Tasks"
    yield ""
    yield (
        "Each is a verb of `tagship`, and a task of `invoke` where there is a `tasks.py`; "
        "`VERB --help` says what stands here."
    )
    verbs, group = collection(), None
    contexts = {context.name: context for context in verbs.to_contexts()}
    for name, task in verbs.tasks.items():
        if group != (group := group_of(task)):
            yield from ("", f"## {group}")
        context: ParserContext = contexts[name]
        yield from ("", f"### {name}", "", *(line for part in paragraphs(task) for line in (_text(part), "")))
        yield from ("```text", usage_of("tagship", task, context), "```", "")
        yield from _table(
            ("Option", "Meaning"),
            ((f"`{spelled(argument)}`", _text(argument.help or "")) for argument in context.args.values()),
        )


def _policy() -> Iterator[str]:
    yield "# release.toml"
    yield ""
    yield (
        "The policy: every key, read from the program. `*` stands for any name. In `pyproject.toml` the same keys "
        f"stand below `[tool.tagship]`. Editors complete and check it with [the JSON Schema](../{SCHEMA_FILE})."
    )
    schema = schema_of(shipped_names())
    for table, part in schema["properties"].items():
        yield from ("", f"## {table}", "", _text(part["description"]), "")
        yield from _table(("Key", "Type", "Default", "Meaning"), _keys(part, table))


def _keys(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, ...]]:
    """A row for each key of a table and of the tables in it, but for those that only hold others."""
    inner = dict(schema.get("properties", {}))
    if isinstance(free := schema.get("additionalProperties"), dict):
        inner[ANY] = free
    for name, each in inner.items():
        key = f"{where}.{name}"
        kind = _kind(each) + (", required" if name in schema.get("required", ()) and name != ANY else "")
        default = _value(each["default"]) if "default" in each else ""
        yield f"`{key}`", kind, default, _text(each.get("description", ""))
        yield from _keys(each, key)
        yield from _keys(each.get("items", {}), f"{key}[]")


def _kind(schema: Mapping[str, Any]) -> str:
    """The type of a value of release.toml, in its own words."""
    if choices := schema.get("enum"):
        return "one of " + ", ".join(map(_value, choices))
    if schema["type"] == "array":
        items = schema["items"]
        return "list of " + (", ".join(map(_value, items["enum"])) if "enum" in items else f"{_named(items)}s")
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return " ".join([_named(schema), *bounds])


def _named(schema: Mapping[str, Any]) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds)


_KINDS = {"object": "table"}
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def _value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return "`[" + ", ".join(_value(each).strip("`") for each in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _manifest() -> Iterator[str]:
    meanings = tomli.loads(_MEANINGS.read_text(encoding="utf-8"))
    kinds = {"schema": "integer", **dict(_fields(Manifest, "", set()))}
    if differing := kinds.keys() ^ meanings.keys():
        raise ValueError(f"{_MEANINGS.name} and the manifest differ in {', '.join(sorted(differing))}")
    yield f"# {MANIFEST_FILE}"
    yield ""
    yield (
        f"Every export, its archive and its repo on the Hub hold a `{MANIFEST_FILE}`, which says what it is, what it "
        "was made of, and what was shown of it; `invoke audit`, `rollback` and `matrix` go by it. Of `evidence`, what "
        "is not known is left out; anywhere else it is `null`, or empty."
    )
    yield ""
    rows = ((f"`{name}`", kind, _text(meanings[name])) for name, kind in kinds.items())
    yield from _table(("Field", "Type", "Meaning"), rows)


def _fields(kind: type[Struct], where: str, told: set[type]) -> Iterator[tuple[str, str]]:
    """Every field of a class, and of those in it, with its type as JSON has it; `[]` is any one of a list. What a class
    has is said where it is first `told` of."""
    hints = get_type_hints(kind)
    for field in kind.__struct_fields__:
        name, hint = f"{where}{field}", hints[field]
        yield name, _json_kind(hint)
        inner = _OBJECTS.get(name) or _class_in(hint)
        if inner is not None and inner not in told:
            told.add(inner)
            yield from _fields(inner, f"{name}[]." if get_origin(hint) is tuple else f"{name}.", told)


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _class_in(hint: Any) -> type[Struct] | None:
    return next((each for each in (hint, *get_args(hint)) if _is_struct(each)), None)


def _json_kind(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_json_kind(each) for each in arguments)
    if get_origin(hint) is tuple:
        return "list of " + ("objects" if _is_struct(arguments[0]) else f"{_json_kind(arguments[0])}s")
    return _JSON.get(hint, "object")


_JSON = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    Any: "any",
    datetime: "string",
}


def _codes() -> Iterator[str]:
    yield from ("# Exit codes", "", "Of every task, under `tagship` and `invoke` alike.", "")
    yield from _table(
        ("Code", "Meaning", "What `--json` prints"),
        [
            (
                "`0`",
                "What was asked for is done, or there was nothing to release, undo or move, which is said.",
                "the task's document",
            ),
            (
                f"`{ReleaseError.exit_code}`",
                "The release failed, or a gate refused it; or a foreign tool or service failed. The same command goes "
                "on where this one stopped. Also: nothing asks for a version that `bump` could name.",
                "`error` and `remedy`",
            ),
            (
                f"`{ReleaseError.exit_code}`",
                "`doctor`, `lint` or `audit` found what would stop a release, or what is not as it should be.",
                "the task's document",
            ),
            (f"`{UsageError.exit_code}`", "A mistake in the options or in `release.toml`.", "`error` and `remedy`"),
            (f"`{INTERRUPTED}`", "It was interrupted (Ctrl-C).", "`error` and `remedy`"),
            (
                f"`{TERMINATED}`",
                "SIGTERM ended it; where `release --on` had begun jobs, they were cancelled.",
                "`error` and `remedy` there, else nothing",
            ),
        ],
    )
    yield from ("", "`remedy` says what to do, or is `null`. A traceback is a mistake of tagship: please report it.")


def _text(text: str) -> str:
    """A sentence, or several; what Markdown would take for something else is escaped."""
    text = text.replace("<", "&lt;").replace("|", "\\|")
    if "`" not in text:
        text = text.replace("*", "\\*")
    return text[:1].upper() + text[1:] if not text.startswith("--") else text


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def write() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    write()
