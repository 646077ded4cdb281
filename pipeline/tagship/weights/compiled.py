"""The libraries that are compiled when tagship is installed (`hatch_build.py`): one is for all versions of Python, as
it is no extension of Python's."""

import ctypes
from pathlib import Path


def library_of(name: str, folder: Path = Path(__file__).parent) -> Path:
    """Where the library of `name.c` in a folder is, where there was a compiler."""
    return folder / f"lib{name}.so"


def loaded(path: Path, *functions: str) -> ctypes.CDLL | None:
    """A library; None where it was not compiled, is for another kind of processor, or is an older one without one of
    these functions."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    return library if all(hasattr(library, name) for name in functions) else None
