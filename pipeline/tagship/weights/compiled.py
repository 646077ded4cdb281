"""The libraries that are compiled when tagship is installed (`hatch_build.py`): one is for all versions of Python, as
it is no extension of Python's."""

import ctypes
from pathlib import Path


def library_of(name: str) -> Path:
    """Where the library of `name.c` is, where there was a compiler."""
    return Path(__file__).with_name(f"lib{name}.so")


def loaded(path: Path) -> ctypes.CDLL | None:
    """A library; None where it was not compiled, or is for another kind of processor."""
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None
