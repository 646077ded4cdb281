"""The executor that does all work in this process, one piece after the other."""

from collections.abc import Iterable, Iterator

from tagship.release.step import Tools, Work, WorkDone, do


class Here:
    """Needs nothing but this process."""

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[WorkDone]:
        return (do(work, tools) for work in works)
