"""The largest magnitude in merged matrices that have one scale of scales, found before the first of them is written.

They are merged for that. What comes of it is kept where it is small enough, and merged again where it is not.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice

import numpy as np

from tagship.weights.dtypes import DTYPES
from tagship.weights.merge import Output
from tagship.weights.merged_rows import AdapterTensors, MergedRows, SourceRows
from tagship.weights.scheme_loops import magnitudes
from tagship.weights.scratch import Array, large_array
from tagship.weights.sources import Sources

# Of merged matrices that are kept, at most: as much as the two largest of a layer have in models of 8B parameters.
_KEPT_BYTES = 256 << 20


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

    def expect(self, work: Callable[[], float]) -> Callable[[], int]:
        """Something for a worker to do, which is waited for from now on; it writes no bytes."""
        self._left += 1

        def done() -> int:
            found = 0.0
            try:
                found = work()
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
        self._kept: dict[tuple[int, str], tuple[Array, int]] = {}
        self._room = _KEPT_BYTES
        # Memory of what was taken, by its size: the layers of a model are alike, and new memory takes long to get.
        self._spare: dict[int, list[Array]] = {}
        self._lock = threading.Lock()

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
            joined = [outputs[name] for name in output.packing.joined]
            self._make_room(adapter, [other for other in joined if not other.unchanged])
            work = [part for other in joined for part in self._parts(adapter, other)]
            self._left[key] = deque([maximum.expect(part) for part in work])
        while self._left[key]:
            yield self._left[key].popleft()

    def kept(self, adapter: AdapterTensors, output: Output, start: int, stop: int) -> Array | None:
        """Merged rows [start, stop), when all are there; None where they were not kept. They hold until `let_go`."""
        _ = self.of(adapter, output).value
        with self._lock:
            rows, _ = self._kept.get((id(adapter), output.name), (None, 0))
        return None if rows is None else rows[start:stop]

    def let_go(self, adapter: AdapterTensors, output: Output, start: int, stop: int) -> None:
        """Say that kept rows are used no more. Those of a matrix are forgotten together."""
        key = id(adapter), output.name
        with self._lock:
            rows, left = self._kept[key]
            left -= stop - start
            if left:
                self._kept[key] = rows, left
                return
            del self._kept[key]
            self._room += rows.nbytes
            self._spare.setdefault(rows.nbytes, []).append(rows.reshape(-1).view(np.uint8))

    def _make_room(self, adapter: AdapterTensors, outputs: list[Output]) -> None:
        sizes = [output.source.entry.elements * DTYPES[output.dtype].itemsize for output in outputs]
        with self._lock:
            if sum(sizes) > self._room:
                return
            self._room -= sum(sizes)
            found = [self._spare[size].pop() if self._spare.get(size) else None for size in sizes]
            if sum(size * len(spare) for size, spare in self._spare.items()) > self._room:
                self._spare.clear()
            for output, size, memory in zip(outputs, sizes, found, strict=True):
                memory = large_array(size) if memory is None else memory
                rows = memory.view(DTYPES[output.dtype]).reshape(output.shape)
                self._kept[id(adapter), output.name] = rows, len(rows)

    def _parts(self, adapter: AdapterTensors, output: Output) -> Iterator[Callable[[], float]]:
        stored = SourceRows(output, self._sources.of(output))
        merged = MergedRows(adapter, output, stored)
        kept, _ = self._kept.get((id(adapter), output.name), (None, 0))

        def largest(blocks: list[tuple[int, int]]) -> float:
            found = 0.0
            for start, stop in blocks:
                rows = merged.rows(start, stop)
                found = max(found, float(magnitudes(rows, stored.row[0]).max()))
                if kept is not None:
                    kept[start:stop] = rows
            return found

        blocks = stored.blocks()
        while some := list(islice(blocks, self._blocks)):
            yield partial(largest, some)


def _key(adapter: AdapterTensors, output: Output) -> tuple[int, tuple[str, ...]]:
    assert output.packing is not None
    return id(adapter), output.packing.joined
