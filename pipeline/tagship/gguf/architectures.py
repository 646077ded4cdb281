"""Which architectures llama.cpp's converter knows, told from its source: importing it takes seconds, as it imports
torch."""

import ast
import importlib.util
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.gguf.llama_cpp import CHECKOUT, refused, unknown, unnamed

_TEXT_TABLE = "TEXT_MODEL_MAP"
_NAMES = "MODEL_ARCH"
_VISION = "MMPROJ"
# Whose text is converted by a class of the whole model's name (conversion/base.py, get_model_architecture).
_BY_THE_WHOLE = (
    "StepVLForConditionalGeneration",
    "Sarashina2VisionForCausalLM",
    "Exaone4_5_ForConditionalGeneration",
    "Step3p7ForConditionalGeneration",
)


class ConverterSupport(Struct, frozen=True, kw_only=True):
    """Whether the converter knows an architecture: None where no converter is installed; `problem` says why not."""

    knows: bool | None
    problem: str | None = None


def converter_support(architecture: str) -> ConverterSupport:
    """Whether the converter that is installed, or that of LLAMA_CPP_DIR, has an architecture of transformers as text,
    and its library for GGUF a name for it."""
    converter, library = (_source_of(name) for name in ("conversion", "gguf"))
    if converter is None or library is None:
        return ConverterSupport(knows=None, problem="llama.cpp's converter is not installed here")
    try:
        module = _text_table(converter / "__init__.py").get(architecture)
        named = _names_of(converter / f"{module}.py", architecture) if module else []
        known = _members(library / "constants.py")
    except (OSError, SyntaxError, ValueError) as error:
        return ConverterSupport(knows=None, problem=f"the source of llama.cpp's converter cannot be read: {error}")
    if not named:
        return ConverterSupport(knows=False, problem=unknown(architecture))
    if not known.intersection(named):
        return ConverterSupport(knows=False, problem=unnamed(architecture))
    return ConverterSupport(knows=True)


def check_architecture(config: Mapping[str, Any]) -> None:
    """Raise ReleaseError for a model that is sure not to be converted, by its config.json. What the source does not
    tell is not refused: the conversion itself tells then."""
    name = text_architecture(config)
    if name is not None and (support := converter_support(name)).knows is False:
        raise refused(str(support.problem))


def text_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture by which the converter finds the class for a model's text, by its config.json."""
    inner = config.get("text_config")
    whole = first_architecture(config)
    if whole in _BY_THE_WHOLE:
        return whole
    return (first_architecture(inner) if isinstance(inner, dict) else None) or whole


def first_architecture(config: Mapping[str, Any]) -> str | None:
    """The class that a config.json names, None where it names none."""
    listed = config.get("architectures")
    return listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else None


def _source_of(package: str) -> Path | None:
    """The folder of a package's source, from LLAMA_CPP_DIR where that has it."""
    checkout = os.environ.get(CHECKOUT)
    for folder in (Path(checkout), Path(checkout, "gguf-py")) if checkout else ():
        if (folder / package / "__init__.py").is_file():
            return folder / package
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


@lru_cache
def _text_table(path: Path) -> dict[str, str]:
    """The converter's module of each architecture."""
    for node in ast.parse(path.read_bytes()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id == _TEXT_TABLE:
            return dict(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no {_TEXT_TABLE}")


@lru_cache
def _names_of(path: Path, architecture: str) -> list[str]:
    """Which of the library's names the classes have that are registered for an architecture, but for those of what
    sees or hears."""
    classes = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)]
    registered = (node for node in classes if architecture in _registered(node))
    return [name for node in registered for name in _own_name(node) if name != _VISION]


def _registered(node: ast.ClassDef) -> Iterator[str]:
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "register":
            yield from (str(argument.value) for argument in call.args if isinstance(argument, ast.Constant))


def _own_name(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Attribute):
            continue
        if ast.unparse(statement.targets[0]) == "model_arch":
            yield statement.value.attr


@lru_cache
def _members(path: Path) -> set[str]:
    """The architectures that the library for GGUF has names for."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == _NAMES:
            assigned = (statement.targets[0] for statement in node.body if isinstance(statement, ast.Assign))
            return {target.id for target in assigned if isinstance(target, ast.Name)}
    raise ValueError(f"{path} has no {_NAMES}")
