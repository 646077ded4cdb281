"""Modules of Python that are not always there, and take seconds to load.

A fifth of that is the collector of garbage, which looks through all that was made so far again and again; nothing of a
module is garbage.
"""

import gc
import importlib
import importlib.util
from collections.abc import Collection
from contextlib import suppress


def import_to_keep(names: Collection[str]) -> None:
    """Load modules for the rest of the process, those of them that are there: what they are made of is looked through
    no more. Who imports one that is not there is told."""
    gc.disable()
    try:
        for name in names:
            with suppress(ImportError):
                importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def are_installed(names: Collection[str]) -> bool:
    """Whether modules can be imported. A folder of that name which has no code, of the user's perhaps, is none."""
    return not not_installed(names)


def not_installed(names: Collection[str]) -> list[str]:
    """Those of some modules that are not installed."""
    specs = {name: importlib.util.find_spec(name) for name in names}
    return [name for name, spec in specs.items() if spec is None or spec.origin is None]
