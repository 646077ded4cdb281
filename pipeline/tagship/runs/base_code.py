"""Python of a base model's own, which transformers runs in place of a class that it has (`auto_map`): which of it
a base needs, and the files that it is in. Nothing here runs any of it."""

import ast
import importlib.util
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object

CODE_KEY = "auto_map"
"""Where a configuration names code: classes by the Auto class that loads them, as `module.Class`, or
`organisation/name--module.Class` for what another repository has."""

_ELSEWHERE = "--"
_TOKENIZER_CLASS = "AutoTokenizer"
# With one of these, transformers needs no class for a tokenizer.
_ANY_CLASS_READS = "tokenizer.json"


def code_needed(folder: Path, names: Collection[str]) -> tuple[str, ...]:
    """The classes of its own without which a base model cannot be run: those that the installed transformers does not
    know. `folder` has its config.json and tokenizer_config.json, `names` are all of its files.

    Where transformers is not installed, nobody can say, and nothing is run: then it is none.
    """
    if importlib.util.find_spec("transformers") is None:
        return ()
    config, tokenizer = (read_object(folder / name) for name in ("config.json", "tokenizer_config.json"))
    needed = list(model_code_needed(config))
    reads = classes_named(tokenizer, lambda loader: loader == _TOKENIZER_CLASS)
    if reads and _ANY_CLASS_READS not in names and not _knows(tokenizer.get("tokenizer_class")):
        needed += reads
    return tuple(dict.fromkeys(needed))


def model_code_needed(config: Mapping[str, Any]) -> tuple[str, ...]:
    """As `code_needed`, for the model alone, by its config.json."""
    model = classes_named(config, lambda loader: loader != _TOKENIZER_CLASS)
    if not model or importlib.util.find_spec("transformers") is None or _knows_model(config):
        return ()
    return model


def classes_named(document: Mapping[str, Any], loaded_by: Any = bool) -> tuple[str, ...]:
    """The classes in a configuration's `auto_map`, of the Auto classes that are wanted."""
    mapped = document.get(CODE_KEY)
    if isinstance(mapped, list):  # of a tokenizer, as older versions of transformers wrote it
        mapped = {_TOKENIZER_CLASS: mapped}
    return tuple(_classes(mapped, loaded_by)) if isinstance(mapped, dict) else ()


def _classes(mapped: Mapping[str, Any], loaded_by: Any) -> Iterator[str]:
    for loader, classes in mapped.items():
        if loaded_by(loader):
            listed = classes if isinstance(classes, list) else [classes]
            yield from (name for name in listed if isinstance(name, str))


def code_files(folder: Path, classes: Iterable[str]) -> dict[str, Path]:
    """The files that classes of a base model in `folder` are in, with those that they import from beside them, by
    their names below it. What another repository has is left there. Raises ReleaseError for what is not there."""
    found: dict[str, Path] = {}
    wanted = [name.rpartition(".")[0] for name in classes if _ELSEWHERE not in name]
    while wanted:
        name = f"{wanted.pop().replace('.', '/')}.py"
        if name in found:
            continue
        path = folder / name
        if Path(name).is_absolute() or not os.path.isfile(path):  # also for a name that is too long
            raise ReleaseError(
                f"the base model in {folder} names code in {name:.200}, which is not there",
                remedy="fetch the model again, whole",
            )
        found[name] = path
        wanted += _imported(path, Path(name).parent)
    return dict(sorted(found.items()))


def localized(document: Mapping[str, Any], base_id: str, folder: Path, *, of_run: bool) -> dict[str, Any]:
    """A configuration whose `auto_map` names code that the base in `folder` has as its own: libraries write the
    repository that they loaded it from before it, the base itself or, in a run, another form of it."""
    mapped = document.get(CODE_KEY)
    if mapped is None:
        return dict(document)

    def local(value: Any) -> Any:
        if isinstance(value, list):
            return [local(item) for item in value]
        if isinstance(value, dict):
            return {key: local(item) for key, item in value.items()}
        repo, separator, name = str(value).partition(_ELSEWHERE)
        own = separator and (repo == base_id or (of_run and (folder / f"{name.rpartition('.')[0]}.py").is_file()))
        return name if own else value

    return dict(document) | {CODE_KEY: local(mapped)}


def _imported(path: Path, beside: Path) -> list[str]:
    """The modules that a file imports from beside itself."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ReleaseError(f"{path} is no Python: {error}") from None
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            found += [".".join((*beside.parts, module)) for module in modules]
    return found


def _knows_model(config: Mapping[str, Any]) -> bool:
    """Whether transformers has the configuration and, where one is named, the class of a model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    named = config.get("architectures") or ()
    return config.get("model_type") in CONFIG_MAPPING_NAMES and (not named or any(map(_knows, named)))


def _knows(name: Any) -> bool:
    """Whether transformers has a class of that name, or a fast tokenizer for it."""
    import transformers

    known = dir(transformers)
    return isinstance(name, str) and (name in known or f"{name}Fast" in known)
