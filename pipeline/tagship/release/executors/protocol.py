"""Where the work on targets is done: here, or on other machines.

An executor may take all pieces of work of a step at once: they do not depend on each other, only on what earlier steps
returned, which each of them carries.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from tagship.release.step import Tools, Work, WorkDone


class Executor(Protocol):
    """Does the work that a step has on targets."""

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[WorkDone]:
        """Do pieces of work; gives what came of each, in their order. `tools` are this process's: what is done
        elsewhere opens its own (`open_tools`). Raises ReleaseError as the step does; nothing is begun after that."""
