"""Writes the tensors of GGUF files: blocks of rows are in memory, each read and merged once for all files."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pipeline.progress import Advance
from pipeline.weights import ggml
from pipeline.weights.changes import Array
from pipeline.weights.merge import MergedWeights
from pipeline.weights.quant_mix import may_be_quantized
from pipeline.weights.rows import MergedRows, one_blas_thread, opened

T = TypeVar("T")
R = TypeVar("R")

# Rows that are encoded by one worker at a time, in float32 bytes.
_CHUNK_BYTES = 4 << 20


def write_tensors(
    writings: Sequence[Any], weights: MergedWeights, streamed: Mapping[str, str], advance: Advance
) -> None:
    """Write the files of several of the converter's models, whose tensors have the same names in the
    same order.

    `streamed` are the tensors that the converter takes as they are, by the name of the merged
    model's; their rows never are in memory together. `advance` counts bytes of encoded tensors.
    """
    writers = [writing.gguf_writer for writing in writings]
    try:
        for writing, writer in zip(writings, writers, strict=True):
            writer.write_header_to_file(path=writing.fname_out)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            writer.write_padding(writer.fout[0], writer.fout[0].tell())
        with ThreadPoolExecutor(os.cpu_count()) as pool, one_blas_thread():
            for name in list(writers[0].tensors[0]):
                _write_tensor(name, writers, weights, streamed.get(name), pool, advance)
    finally:
        for writer in writers:
            writer.close()


def _write_tensor(
    name: str,
    writers: Sequence[Any],
    weights: MergedWeights,
    source: str | None,
    pool: ThreadPoolExecutor,
    advance: Advance,
) -> None:
    infos = [writer.tensors[0][name] for writer in writers]
    if may_be_quantized(name, infos[0].shape):
        types = list(dict.fromkeys(info.dtype.value for info in infos))
        with ExitStack() as stack:
            blocks = _streamed(weights, source, stack) if source else _whole(infos[0].tensor)

            def encode(block: Callable[[], Array]) -> dict[int, Array]:
                rows = block()
                return {kind: ggml.encode(rows, kind) for kind in types}

            for encoded in _in_order(pool, encode, blocks):
                for writer, info in zip(writers, infos, strict=True):
                    encoded[info.dtype.value].tofile(writer.fout[0])
                    advance(encoded[info.dtype.value].nbytes)
    else:
        for writer, info in zip(writers, infos, strict=True):
            info.tensor.tofile(writer.fout[0])
    for writer, info in zip(writers, infos, strict=True):
        writer.write_padding(writer.fout[0], info.nbytes)
        info.tensor = None  # its memory is needed for the next one


def _streamed(weights: MergedWeights, name: str, stack: ExitStack) -> Iterator[Callable[[], Array]]:
    """The blocks of a tensor that is not changed by the converter, each read and merged when it is called."""
    output = weights.outputs[name]
    merged = MergedRows(weights.adapter, output, stack.enter_context(opened(output.source.path)))
    for block in merged.blocks():
        yield partial(_floats, merged, *block)


def _floats(merged: MergedRows, start: int, stop: int) -> Array:
    return _matrix(merged.floats(start, stop))


def _whole(tensor: Any) -> Iterator[Callable[[], Array]]:
    """The blocks of a tensor that the converter changes: permutes, splits or stacks."""
    import gguf

    values = _matrix(gguf.LazyNumpyTensor.to_eager(tensor))
    step = max(1, _CHUNK_BYTES // (4 * values.shape[1]))
    for start in range(0, len(values), step):
        yield partial(values.__getitem__, slice(start, start + step))


def _matrix(values: Array) -> Array:
    return np.asarray(values, np.float32).reshape(-1, values.shape[-1])


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of the items, of which only a few are at work ahead of the one that is wanted."""
    ahead: deque[Future[R]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) > 2 * (os.cpu_count() or 1):
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
