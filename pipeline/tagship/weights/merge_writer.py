"""Writes the files of merged models, streaming: blocks of rows are in memory, never a model.

Several models of one base are written from one reading of it. Bytes that nothing changes are copied by
the kernel. Files appear under their names when they are whole; those that are there are kept, so that
the same call finishes what a killed one began.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from tagship.system.files import copy_file, new_file, set_aside, write_json
from tagship.system.pool import in_order, in_turns
from tagship.system.progress import Advance, silent
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.layout import Layout, Shard, lay_out
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.merged_rows import AdapterTensors, MergedRows, SourceRows, one_blas_thread
from tagship.weights.scheme_rows import SchemeRows
from tagship.weights.scratch import Array
from tagship.weights.shared_maxima import SharedMaxima
from tagship.weights.sources import Source, Sources

# What a worker does at a time: bytes to copy, or blocks to merge. Less would have the workers wait for the interpreter,
# which hands out the work; more would keep one alone at a file's end.
_COPIED_BYTES = 8 << 20
_MERGED_BLOCKS = 8
# Files that are written side by side: while one worker is in the kernel with one, the next can go on with another.
_FILES = 2
# What the adapters' tensors may take in float32 for the models that are merged side by side.
_PREPARED_BYTES = 64 << 20

# What is written of merged rows from one on: parts by their number, each with an offset in it, and the bytes.
_Parts = Callable[[Array, int], Iterable[tuple[int, int, Array]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Something for a worker to do, which returns the bytes that it wrote; after it (and all before it) a
    tensor of each of these files is whole."""

    write: Callable[[], int]
    completes: tuple["_Sink", ...] = ()


class _Sink:
    """A file that is being written; it has its name when all of its tensors are in it."""

    def __init__(self, shard: Shard, target: Path) -> None:
        self._shard = shard
        self._target = target
        self._missing = len(shard.tensors)
        self._descriptor = -1
        self._made = ExitStack()
        # Writers of one file wait for each other in the kernel, and burn a core while they do.
        self._one_writer = threading.Lock()

    def open(self, sources: Sources) -> None:
        """Make the file, if it is not yet there."""
        if self._descriptor >= 0:
            return
        partial = self._made.enter_context(new_file(self._target))
        self._descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._made.callback(os.close, self._descriptor)
        for output, places in self._shard.tensors:
            if output.copied:  # what is shared needs no room
                entry = output.source.entry
                sources.of(output).share(self._descriptor, entry.start, entry.nbytes, places[0])
        set_aside(self._descriptor, self._shard.size)
        self.write(memoryview(self._shard.header), 0)

    def write(self, data: memoryview, at: int) -> None:
        with self._one_writer:
            written = os.pwrite(self._descriptor, data, at)
        if written != data.nbytes:
            raise OSError(errno.ENOSPC, f"only a part of {self._target.name} could be written")

    def copy(self, source: Source, start: int, length: int, at: int, output: Output) -> None:
        with self._one_writer:
            source.copy(self._descriptor, start, length, at, output)

    def complete_one(self) -> None:
        """Count a tensor; with the last one the file gets its name."""
        self._missing -= 1
        if not self._missing:
            self._made.close()

    def give_up(self, *why: Any) -> None:
        """Remove the file, if it is not whole."""
        self._made.__exit__(*why)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a tensor goes: into a file, each of its parts at an offset. `outputs` are all tensors of its model."""

    adapter: AdapterTensors
    output: Output
    outputs: Mapping[str, Output]
    sink: _Sink
    at: tuple[int, ...]

    @property
    def numbers(self) -> object:
        """What is the same for places with the same numbers, before those are quantized."""
        output = self.output
        return self.adapter.folder, output.name, output.dtype, output.replaced, output.changes


def write_merged(
    models: Sequence[tuple[MergedWeights, Path]], advance: Advance = silent, *, max_shard: int | None = None
) -> None:
    """Write the merged shards of each model, and their index where there are several, into its folder.

    `advance` counts the bytes of weights written; `max_shard` is the largest file in bytes. Raises
    ReleaseError when an adapter or a sum is not finite, or a file is not what it was when its header was read.
    """
    layouts = [lay_out(weights, max_shard) for weights, _ in models]
    with ExitStack() as unfinished:
        places = [
            place
            for (weights, folder), layout in zip(models, layouts, strict=True)
            for place in _places(weights, folder, layout.shards, unfinished, advance)
        ]
        _write(places, advance)
    for (weights, folder), layout in zip(models, layouts, strict=True):
        _write_index(weights, folder, layout)


def write_file_by_file(
    weights: MergedWeights, folder: Path, advance: Advance = silent, *, max_shard: int | None = None
) -> Iterator[Path]:
    """As `write_merged`, the files of one model one after the other: each path is given when that file is whole, and no
    other one is there by then but for those that were given before, which may be gone."""
    layout = lay_out(weights, max_shard)
    for shard in layout.shards:
        with ExitStack() as unfinished:
            _write(list(_places(weights, folder, (shard,), unfinished, advance)), advance)
        yield folder / shard.name
    _write_index(weights, folder, layout)


def _write(places: Sequence[_Place], advance: Advance) -> None:
    with Sources() as sources, one_blas_thread():
        for piece, written in in_order(lambda piece: (piece, piece.write()), _pieces(places, sources)):
            advance(written)
            for sink in piece.completes:
                sink.complete_one()


def _places(
    weights: MergedWeights, folder: Path, shards: Sequence[Shard], unfinished: ExitStack, advance: Advance
) -> Iterator[_Place]:
    """The tensors of a model's files that are not there yet."""
    adapter = AdapterTensors(weights.adapter)
    for shard in shards:
        if (folder / shard.name).exists():
            advance(sum(output.nbytes for output, _ in shard.tensors))
            continue
        sink = _Sink(shard, folder / shard.name)
        unfinished.push(sink.give_up)
        for output, at in shard.tensors:
            yield _Place(adapter=adapter, output=output, outputs=weights.outputs, sink=sink, at=at)


def _pieces(places: Sequence[_Place], sources: Sources) -> Iterator[_Piece]:
    """The work on all tensors: those that are made of the same bytes are made together, and a few files are
    written side by side."""
    together: dict[object, list[_Place]] = {}
    for place in places:
        entry = place.output.source.entry
        together.setdefault((place.output.source.file.path, entry.start, entry.shape), []).append(place)
    by_file: dict[_Sink, list[list[_Place]]] = {}
    for users in together.values():
        by_file.setdefault(users[0].sink, []).append(users)
    maxima = SharedMaxima(sources, _MERGED_BLOCKS)
    yield from in_turns((_pieces_of(tensors, sources, maxima) for tensors in by_file.values()), _FILES)


def _pieces_of(tensors: Sequence[Sequence[_Place]], sources: Sources, maxima: SharedMaxima) -> Iterator[_Piece]:
    for users in tensors:
        source = sources.of(users[0].output)
        for user in users:
            user.sink.open(sources)
        if all(user.output.copied for user in users):
            yield from _copies(users, source)
        else:
            for some in _side_by_side(users):
                yield from _maxima(some, maxima)
                yield from _merges(some, source, maxima)
        yield _Piece(write=lambda: 0, completes=tuple(user.sink for user in users))


def _copies(users: Sequence[_Place], source: Source) -> Iterator[_Piece]:
    entry = users[0].output.source.entry

    def copy(done: int) -> int:
        length = min(_COPIED_BYTES, entry.nbytes - done)
        for user in users:
            user.sink.copy(source, entry.start + done, length, user.at[0] + done, user.output)
        return length * len(users)

    for done in range(0, entry.nbytes, _COPIED_BYTES):
        yield _Piece(write=partial(copy, done))


def _maxima(users: Sequence[Sequence[_Place]], maxima: SharedMaxima) -> Iterator[_Piece]:
    """The work that has to begin before tensors with a scale of scales are written."""
    for user in chain.from_iterable(users):
        if user.output.packing and user.output.packing.scheme.shared:
            for work in maxima.pieces(user.adapter, user.output, user.outputs):
                yield _Piece(write=work)


def _merges(users: Sequence[Sequence[_Place]], source: Source, maxima: SharedMaxima) -> Iterator[_Piece]:
    """The work on tensors that are read from the same bytes; those of each group have the same numbers."""
    stored = SourceRows(users[0][0].output, source)
    merged = [
        (MergedRows(same[0].adapter, same[0].output, stored), [(user, _written(user, stored, maxima)) for user in same])
        for same in users
    ]

    def merge(blocks: Sequence[tuple[int, int]]) -> int:
        written = 0
        for start, stop in blocks:
            rows = None
            for model, receivers in merged:
                with _kept([user for user, _ in receivers], maxima, start, stop) as numbers:
                    if numbers is None:
                        rows = stored.read(start, stop) if rows is None else rows
                        numbers = model.merge(rows, start, stop)
                    for user, parts in receivers:
                        for part, at, data in parts(numbers, start):
                            user.sink.write(data.data, user.at[part] + at)
                            written += data.nbytes
        return written

    packings = [user.output.packing for user in chain.from_iterable(users)]
    blocks = stored.blocks(max(packing.scheme.height if packing else 1 for packing in packings))
    while some := list(islice(blocks, _MERGED_BLOCKS)):
        yield _Piece(write=partial(merge, some))


@contextmanager
def _kept(users: Sequence[_Place], maxima: SharedMaxima, start: int, stop: int) -> Iterator[Array | None]:
    """Merged rows of places with the same numbers, where they were kept when the largest of them was looked for."""
    shared = next((user for user in users if user.output.packing and user.output.packing.scheme.shared), None)
    rows = maxima.kept(shared.adapter, shared.output, start, stop) if shared else None
    yield rows
    if shared and rows is not None:
        maxima.let_go(shared.adapter, shared.output, start, stop)


def _written(user: _Place, stored: SourceRows, maxima: SharedMaxima) -> _Parts:
    """What is written of merged rows."""
    output = user.output
    if output.packing is None:
        row_bytes = output.nbytes // max(1, stored.count)
        return lambda rows, start: [(0, start * row_bytes, rows.reshape(-1).view(np.uint8))]
    scheme, maximum = output.packing.scheme, None
    if scheme.shared:
        found = maxima.of(user.adapter, output)
        maximum = lambda: found.value  # noqa: E731
    return SchemeRows(scheme, output.name, output.shape, output.dtype, maximum).quantized


def _side_by_side(users: Sequence[_Place]) -> Iterator[list[list[_Place]]]:
    """As many models at a time as there is memory for their adapters' tensors, in groups that have the same numbers."""
    groups: list[list[_Place]] = []
    for user in users:
        same = next((group for group in groups if group[0].numbers == user.numbers), None)
        if same:
            same.append(user)
        else:
            groups.append([user])
    some: list[list[_Place]] = []
    size = 0
    for group in groups:
        needed = 4 * sum(entry.elements for change in group[0].output.changes for entry in change.tensors)
        if some and size + needed > _PREPARED_BYTES:
            yield some
            some, size = [], 0
        some.append(group)
        size += needed
    yield some


def _write_index(weights: MergedWeights, folder: Path, layout: Layout) -> None:
    if layout.index is weights.base.index and layout.index is not None:
        copy_file(weights.base.folder / INDEX_FILE, folder / INDEX_FILE)
    elif layout.index is not None:
        write_json(folder / INDEX_FILE, layout.index)
