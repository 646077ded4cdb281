"""Modules of Python that take seconds to load."""

import importlib
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from threading import Thread


def import_meanwhile(names: Collection[str]) -> None:
    """Load modules in a thread while something else is done: who needs one waits for it, or gets what is wrong with
    it, when it is imported there."""
    for name in names:
        _begin(name)


@cache
def _begin(name: str) -> None:
    Thread(target=_import, args=(name,)).start()


def _import(name: str) -> None:
    with suppress(Exception):  # whoever imports it is told
        importlib.import_module(name)
