"""One process with torch and transformers for all exports: loading them takes longer than exporting a tiny model."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from tagship.system.worker import Worker, lending
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.registry import reference_runtime


@pytest.fixture(scope="session")
def runtimes() -> Iterator[Runtimes]:
    """The runtimes of all tests here."""
    with Runtimes() as running:
        yield running


@pytest.fixture(autouse=True, scope="session")
def one_process(runtimes: Runtimes) -> Iterator[None]:
    """Exports are made in the process of a runtime, as in a release, which starts with the first one."""
    name = reference_runtime().name

    def lend() -> AbstractContextManager[Worker | None]:
        runtimes.start(name)
        return runtimes.lent(name)

    with lending(lend):
        yield
