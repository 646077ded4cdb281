"""Modules of Python that take seconds to load.

A fifth of that is the collector of garbage, which looks through all that was made so far again and again; nothing of a
module is garbage.
"""

import gc
import importlib
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
