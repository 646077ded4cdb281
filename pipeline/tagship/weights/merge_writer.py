"""Writes the files of merged models, streaming: blocks of rows are in memory, never a model.

Several models of one base are written from one reading of it. Bytes that nothing changes are copied by
the kernel. Files appear under their names when they are whole; those that are there are kept, so that
the same call finishes what a killed one began.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from msgspec import Struct

from tagship.system.files import copy_file, write_json
from tagship.system.pool import in_order, in_turns
from tagship.system.progress import Advance, silent
from tagship.weights.affine import Affine
from tagship.weights.affine_rows import AffineRows
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.layout import Layout, Shard, lay_out
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.merged_file import MergedFile
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
# How much of a file may be written and not digested: it is still in the page cache when it is read for that.
_UNDIGESTED = 256 << 20
# What the adapters' tensors may take in float32 for the models that are merged side by side.
_PREPARED_BYTES = 64 << 20

# What is written of merged rows from one on: parts by their number, each with an offset in it, and the bytes.
_Parts = Callable[[Array, int], Iterable[tuple[int, int, Array]]]


class _Piece(Struct, frozen=True, kw_only=True):
    """Something for a worker to do, which returns the bytes that it wrote; after it (and all before it) a
    tensor of each of these files is whole."""

    write: Callable[[], int]
    completes: tuple[MergedFile, ...] = ()


class _Place(Struct, frozen=True, kw_only=True):
    """Where a tensor goes: into a file, each of its parts at an offset. `outputs` are all tensors of its model."""

    adapter: AdapterTensors
    output: Output
    outputs: Mapping[str, Output]
    sink: MergedFile
    at: tuple[int, ...]

    @property
    def numbers(self) -> object:
        """What is the same for places with the same numbers, before those are quantized."""
        output = self.output
        return self.adapter.folder, output.name, output.dtype, output.replaced, output.changes


def write_merged(
    models: Sequence[tuple[MergedWeights, Path]], advance: Advance = silent, *, max_shard: int | None = None
) -> dict[Path, str]:
    """Write the merged shards of each model, and their index where there are several, into its folder. Returns the
    SHA-256, in hexadecimal, of each shard that was written now, which took no reading for itself.

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
        digests = _write(places, advance)
    for (weights, folder), layout in zip(models, layouts, strict=True):
        _write_index(weights, folder, layout)
    return digests


def write_file_by_file(
    weights: MergedWeights, folder: Path, advance: Advance = silent, *, max_shard: int | None = None
) -> Iterator[tuple[Path, str | None]]:
    """As `write_merged`, the files of one model one after the other: each is given when it is whole, with its SHA-256
    where that is known, and no other one is there by then but for those that were given before, which may be gone."""
    layout = lay_out(weights, max_shard)
    for shard in layout.shards:
        path = folder / shard.name
        with ExitStack() as unfinished:
            digests = _write(list(_places(weights, folder, (shard,), unfinished, advance)), advance)
        yield path, digests.get(path)
    _write_index(weights, folder, layout)


def _write(places: Sequence[_Place], advance: Advance) -> dict[Path, str]:
    """Write tensors; returns the digests of their files."""
    sinks = list(dict.fromkeys(place.sink for place in places))
    with Sources() as sources, one_blas_thread():
        for piece, written in in_order(lambda piece: (piece, piece.write()), _pieces(places, sources)):
            advance(written)
            for sink in piece.completes:
                sink.complete_one()
            for sink in sinks:
                sink.wait(_UNDIGESTED)
    return {sink.target: digest for sink in sinks if (digest := sink.hexdigest())}


def _places(
    weights: MergedWeights, folder: Path, shards: Sequence[Shard], unfinished: ExitStack, advance: Advance
) -> Iterator[_Place]:
    """The tensors of a model's files that are not there yet."""
    adapter = AdapterTensors(weights.adapter)
    for shard in shards:
        if (folder / shard.name).exists():
            advance(sum(output.nbytes for output, _ in shard.tensors))
            continue
        sink = MergedFile(shard, folder / shard.name)
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
    by_file: dict[MergedFile, list[list[_Place]]] = {}
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
        runs: dict[tuple[MergedFile, int], int] = {}  # bytes that were written one after the other, by their end
        for start, stop in blocks:
            rows = stored.read(start, stop)
            for model, receivers in merged:
                numbers = model.merge(rows, start, stop)
                for user, parts in receivers:
                    for part, at, data in parts(numbers, start):
                        begun = user.at[part] + at
                        user.sink.write(data.data, begun)
                        runs[user.sink, begun + data.nbytes] = runs.pop((user.sink, begun), 0) + data.nbytes
        for (sink, end), length in runs.items():
            sink.wrote(end - length, length)
        return sum(runs.values())

    packings = [user.output.packing for user in chain.from_iterable(users)]
    blocks = stored.blocks(max(packing.scheme.height if packing else 1 for packing in packings))
    while some := list(islice(blocks, _MERGED_BLOCKS)):
        yield _Piece(write=partial(merge, some))


def _written(user: _Place, stored: SourceRows, maxima: SharedMaxima) -> _Parts:
    """What is written of merged rows."""
    output = user.output
    if output.packing is None:
        row_bytes = output.nbytes // max(1, stored.count)
        return lambda rows, start: [(0, start * row_bytes, rows.reshape(-1).view(np.uint8))]
    scheme, maximum = output.packing.scheme, None
    if isinstance(scheme, Affine):
        return AffineRows(scheme, output.name, output.shape, output.dtype).quantized
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
