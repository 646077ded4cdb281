"""The shared object that xllamacpp brings, with llama.h's and ggml.h's functions: for encoding and for running."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install


@cache
def llama_library() -> ctypes.CDLL:
    """The library, whose functions have no signatures until whoever calls them has declared them.

    Raises ReleaseError when xllamacpp is not installed.
    """
    spec = importlib.util.find_spec("xllamacpp")
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [path for folder in folders for path in Path(folder).glob("xllamacpp*.so")]
    if not found:
        raise ReleaseError("xllamacpp, which encodes and runs GGUFs, is not installed", remedy=how_to_install("gguf"))
    return ctypes.CDLL(str(found[0]))  # CDLL, not PyDLL: calls release the interpreter lock
