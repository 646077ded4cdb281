"""The largest magnitude in merged matrices that have one scale of scales, found before the first of them is written.

Their rows are read twice, so that no more of them is in memory than of others. Of the product that is added to them
only what could be the largest is made for it (`LowRankSum.largest`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice

from tagship.weights.merge import Output
from tagship.weights.merged_rows import AdapterTensors, MergedRows, SourceRows
from tagship.weights.sources import Sources

# Looks for what is larger than is known: returns the larger one.
_Look = Callable[[float], float]


class SharedMaximum:
    """What workers find together in matrices that are `joined`; `value` waits until the last of them has ended."""

    def __init__(self) -> None:
        self._value = 0.0
        self._left = 0
        self._changed = threading.Condition()

    @property
    def value(self) -> float:
        with self._changed:
            self._changed.wait_for(lambda: not self._left)
            return self._value

    def expect(self, look: _Look) -> Callable[[], int]:
        """Something for a worker to do, which is waited for from now on; it writes no bytes."""
        self._left += 1

        def done() -> int:
            found = 0.0
            try:
                found = look(self._value)
            finally:  # who waits for one that failed would never end
                with self._changed:
                    self._value = max(self._value, found)
                    self._left -= 1
                    self._changed.notify_all()
            return 0

        return done


class SharedMaxima:
    """The maxima of all matrices that are written. They are looked for in pieces of work, of so many blocks each, which
    have to begin before anybody waits for them."""

    def __init__(self, sources: Sources, blocks: int) -> None:
        self._sources = sources
        self._blocks = blocks
        self._found: dict[tuple[int, tuple[str, ...]], SharedMaximum] = {}
        self._left: dict[tuple[int, tuple[str, ...]], deque[Callable[[], int]]] = {}

    def of(self, adapter: AdapterTensors, output: Output) -> SharedMaximum:
        """That of a matrix and what is joined with it; its pieces have been handed out."""
        return self._found[_key(adapter, output)]

    def pieces(
        self, adapter: AdapterTensors, output: Output, outputs: Mapping[str, Output]
    ) -> Iterator[Callable[[], int]]:
        """What is still to be done for it: who asks hands out all that is left, also of what the writer of another file
        began, and waits for it only then. `outputs` are all tensors of the model."""
        assert output.packing is not None
        key = _key(adapter, output)
        if key not in self._found:
            self._found[key] = maximum = SharedMaximum()
            looks = [look for name in output.packing.joined for look in self._looks(adapter, outputs[name])]
            self._left[key] = deque([maximum.expect(look) for look in looks])
        while self._left[key]:
            yield self._left[key].popleft()

    def _looks(self, adapter: AdapterTensors, output: Output) -> Iterator[_Look]:
        stored = SourceRows(output, self._sources.of(output))
        merged = MergedRows(adapter, output, stored)

        def largest(blocks: list[tuple[int, int]], known: float) -> float:
            for start, stop in blocks:
                known = merged.largest(start, stop, known)
            return known

        blocks = stored.blocks()
        while some := list(islice(blocks, self._blocks)):
            yield partial(largest, some)


def _key(adapter: AdapterTensors, output: Output) -> tuple[int, tuple[str, ...]]:
    assert output.packing is not None
    return id(adapter), output.packing.joined
