"""The executor that does all work in this process, one piece after the other."""

from collections.abc import Iterable, Iterator

from tagship.release.step import Made, Tools, Work, do


class Here:
    """Needs nothing but this process."""

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[Made]:
        return (do(work, tools) for work in works)
