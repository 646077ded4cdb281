"""Writes the tensors of GGUF files: blocks of rows are in memory, each read and merged once for all files."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tagship.gguf import k_quants
from tagship.gguf.imatrix import Imatrix
from tagship.gguf.quant_mix import needs_importance
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.system.digesting import GrowingDigest
from tagship.system.errors import ReleaseError
from tagship.system.pool import in_order
from tagship.system.progress import Advance
from tagship.weights.merge import MergedWeights, Output
from tagship.weights.merged_rows import AdapterTensors, MergedRows, SourceRows, one_blas_thread
from tagship.weights.scratch import Array
from tagship.weights.sources import Sources

# Rows that are encoded by one worker at a time, in float32 bytes.
_CHUNK_BYTES = 4 << 20
# How much of a file may be written and not digested: it is still in the page cache when it is read for that.
_UNDIGESTED = 256 << 20

# Encodes rows (rows, columns) of float32 in a type of ggml's, as `ggml.encode` does.
Encode = Callable[[Array, int], Array]
# A block of a tensor's rows: the number of its first one, and what computes them in float32.
_Block = tuple[int, Callable[[], Array]]


class _GgufFiles:
    """The files of one of the converter's models: one, or several where it is divided.

    They are written in a hidden folder beside their places, and moved when they are whole; those that are
    in their places already are kept.
    """

    def __init__(self, writing: Any, staging: Path) -> None:
        self._writer = writing.gguf_writer
        self._folder = writing.fname_out.parent
        self._shards = {name: number for number, held in enumerate(self._writer.tensors) for name in held}
        self._missing = [len(held) for held in self._writer.tensors]
        self._paths = self._writer.format_shard_names(staging / writing.fname_out.name)
        self._kept = [(self._folder / path.name).exists() for path in self._paths]
        self._writer.write_header_to_file(path=staging / writing.fname_out.name)
        self._writer.write_kv_data_to_file()
        self._writer.write_ti_data_to_file()
        for file in self._writer.fout:
            self._writer.write_padding(file, file.tell())
        self._digests = [
            None if kept else GrowingDigest(path) for kept, path in zip(self._kept, self._paths, strict=True)
        ]
        self._written = [0] * len(self._paths)
        for number in range(len(self._paths)):
            self._wrote(number)

    @property
    def names(self) -> list[str]:
        """The tensors, in their order."""
        return list(self._shards)

    def lacks(self, name: str) -> bool:
        """Whether a tensor's file has still to be written."""
        return not self._kept[self._shards[name]]

    def info(self, name: str) -> Any:
        """What the writer knows of a tensor: shape, type, size in bytes."""
        return self._writer.tensors[self._shards[name]][name]

    def write(self, name: str, data: Array) -> None:
        """Write the next bytes of a tensor."""
        number = self._shards[name]
        try:
            data.tofile(self._writer.fout[number])  # what the converter has not computed yet is computed by this alone
        except OSError as error:
            if error.errno is not None:
                raise
            # numpy says how much was written, and not why no more.
            raise OSError(errno.ENOSPC, f"only a part of {name} could be written") from error
        self._wrote(number)

    def complete(self, name: str) -> None:
        """End a tensor; with its last one a file gets its place."""
        number, info = self._shards[name], self.info(name)
        info.tensor = None  # its memory is needed for the next one
        if self._kept[number]:
            return
        file = self._writer.fout[number]
        self._writer.write_padding(file, info.nbytes)
        self._missing[number] -= 1
        self._wrote(number)
        if not self._missing[number]:
            if digest := self._digests[number]:
                digest.complete(self._written[number])
            self._paths[number].rename(self._folder / self._paths[number].name)

    def _wrote(self, number: int) -> None:
        """Have what a file got be digested: it is written from its beginning to its end."""
        file, before = self._writer.fout[number], self._written[number]
        file.flush()
        self._written[number] = file.tell()
        if digest := self._digests[number]:
            digest.wrote(before, self._written[number] - before)
            digest.wait(_UNDIGESTED)

    def digests(self) -> dict[Path, str]:
        """The SHA-256 of each file that was written now, in hexadecimal, when all are whole."""
        found = zip(self._paths, self._digests, strict=True)
        digests = {self._folder / path.name: digest.hexdigest() for path, digest in found if digest}
        return {path: digest for path, digest in digests.items() if digest}

    def close(self) -> None:
        self._writer.close()
        for digest in filter(None, self._digests):
            digest.give_up()


def write_tensors(
    writings: Sequence[Any],
    weights: MergedWeights,
    streamed: Mapping[str, Sequence[str]],
    encode: Encode,
    imatrix: Imatrix | None,
    advance: Advance,
) -> tuple[bool, dict[Path, str]]:
    """Write the files of several of the converter's models, whose tensors have the same names in the
    same order; returns whether every tensor was written now, into one of them at least, and the SHA-256, in
    hexadecimal, of each file that was.

    `streamed` are the tensors that the converter takes as they are, one or several on top of each other, by the
    names of the merged model's; their rows never are in memory together. `encode` is what encodes rows where no
    importance matrix weighs them; `imatrix` tells how much columns matter. `advance` counts bytes of encoded
    tensors. Raises ReleaseError where `imatrix` is of another model, or a type needs one that is not there.
    """
    with ExitStack() as stack:
        models = []
        for writing in writings:
            staging = TemporaryDirectory(prefix=".gguf-", suffix=".partial", dir=writing.fname_out.parent)
            model = _GgufFiles(writing, Path(stack.enter_context(staging)))
            stack.callback(model.close)
            models.append(model)
        sources = stack.enter_context(Sources())
        stack.enter_context(one_blas_thread())
        adapter = AdapterTensors(weights.adapter)
        _check_importance(models, imatrix)  # before hours of encoding
        every = True
        for name in models[0].names:
            wanted = [model for model in models if model.lacks(name)]
            outputs = [weights.outputs[held] for held in streamed.get(name, ())]
            every = every and bool(wanted)
            if wanted:
                blocks = _streamed(adapter, outputs, sources) if outputs else None
                _write_tensor(name, wanted, blocks, encode, imatrix, advance)
            for model in models:
                info = model.info(name)
                if model not in wanted and may_be_quantized(name, info.shape):
                    advance(info.nbytes)
                model.complete(name)
        return every, {path: digest for model in models for path, digest in model.digests().items()}


def _check_importance(models: Sequence[_GgufFiles], imatrix: Imatrix | None) -> None:
    """Raise ReleaseError for an importance matrix of another model, or where there are no numbers that a type needs."""
    shapes = {name: tuple(models[0].info(name).shape) for name in models[0].names}
    if imatrix is not None:
        imatrix.check({name: shape for name, shape in shapes.items() if may_be_quantized(name, shape)})
    for model in models:
        for name, shape in shapes.items():
            kind = model.info(name).dtype.name
            if needs_importance(name, kind) and (imatrix is None or imatrix.of(name, shape) is None):
                raise no_importance(name, kind)


def no_importance(name: str, kind: str) -> ReleaseError:
    """The refusal of a type that is encoded by an importance matrix alone."""
    return ReleaseError(
        f"{name} is to be {kind}, which takes an importance matrix, and there are no numbers for it",
        remedy='have one made of this model, [export] imatrix = "make", or choose a type of more bits',
    )


def _write_tensor(
    name: str,
    models: Sequence[_GgufFiles],
    blocks: Iterator[_Block] | None,
    plain: Encode,
    imatrix: Imatrix | None,
    advance: Advance,
) -> None:
    """Write a tensor that comes in these blocks, or, where there are none, as the converter computes it; `plain`
    encodes without an importance matrix."""
    infos = [model.info(name) for model in models]
    if not may_be_quantized(name, infos[0].shape):
        for model, info in zip(models, infos, strict=True):
            model.write(name, info.tensor)
        return
    types = list(dict.fromkeys(info.dtype.value for info in infos))
    shape = tuple(infos[0].shape)
    importance = imatrix.of(name, shape) if imatrix else None

    def encode(block: _Block) -> dict[int, Array]:
        start, compute = block
        rows = compute()
        if importance is None:
            return {kind: plain(rows, kind) for kind in types}
        return {kind: _weighed(rows, kind, start, shape[-2], importance) for kind in types}

    for encoded in in_order(encode, blocks if blocks is not None else _whole(infos[0].tensor)):
        for model, info in zip(models, infos, strict=True):
            model.write(name, encoded[info.dtype.value])
            advance(encoded[info.dtype.value].nbytes)


def _weighed(rows: Array, kind: int, start: int, height: int, importance: Array) -> Array:
    """Rows from `start` on, in a type; each expert of `height` rows has its own importance of columns."""
    parts = []
    for expert in range(start // height, -(-(start + len(rows)) // height)):
        first, last = max(start, expert * height) - start, min(start + len(rows), (expert + 1) * height) - start
        parts.append(k_quants.encode(rows[first:last], kind, importance[expert]))
    return np.concatenate(parts)


def _streamed(adapter: AdapterTensors, outputs: Sequence[Output], sources: Sources) -> Iterator[_Block]:
    """The blocks of tensors that are not changed by the converter, each read and merged when it is called."""
    above = 0
    for output in outputs:
        stored = SourceRows(output, sources.of(output))
        merged = MergedRows(adapter, output, stored)
        for start, stop in stored.blocks():
            yield above + start, partial(_floats, merged, start, stop)
        above += stored.count


def _floats(merged: MergedRows, start: int, stop: int) -> Array:
    return _matrix(merged.floats(start, stop))


def _whole(tensor: Any) -> Iterator[_Block]:
    """The blocks of a tensor that the converter changes: permutes, splits or transposes."""
    import gguf

    values = _matrix(gguf.LazyNumpyTensor.to_eager(tensor))
    step = max(1, _CHUNK_BYTES // (4 * values.shape[1]))
    for start in range(0, len(values), step):
        yield start, partial(values.__getitem__, slice(start, start + step))


def _matrix(values: Array) -> Array:
    return np.asarray(values, np.float32).reshape(-1, values.shape[-1])
