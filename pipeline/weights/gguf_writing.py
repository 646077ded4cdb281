"""Writes the tensors of GGUF files: blocks of rows are in memory, each read and merged once for all files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipeline.progress import Advance
from pipeline.weights import ggml
from pipeline.weights.merge import MergedWeights, Output
from pipeline.weights.pool import in_order
from pipeline.weights.quant_mix import may_be_quantized
from pipeline.weights.rows import MergedRows, SourceRows, one_blas_thread
from pipeline.weights.scratch import Array
from pipeline.weights.sources import Sources

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
        with Sources() as sources, one_blas_thread():
            for name in list(writers[0].tensors[0]):
                source = weights.outputs[streamed[name]] if name in streamed else None
                blocks = _streamed(weights, source, sources) if source else None
                _write_tensor(name, writers, blocks, advance)
    finally:
        for writer in writers:
            writer.close()


def _write_tensor(
    name: str,
    writers: Sequence[Any],
    blocks: Iterator[Callable[[], Array]] | None,
    advance: Advance,
) -> None:
    infos = [writer.tensors[0][name] for writer in writers]
    if may_be_quantized(name, infos[0].shape):
        types = list(dict.fromkeys(info.dtype.value for info in infos))

        def encode(block: Callable[[], Array]) -> dict[int, Array]:
            rows = block()
            return {kind: ggml.encode(rows, kind) for kind in types}

        for encoded in in_order(encode, blocks or _whole(infos[0].tensor)):
            for writer, info in zip(writers, infos, strict=True):
                encoded[info.dtype.value].tofile(writer.fout[0])
                advance(encoded[info.dtype.value].nbytes)
    else:
        for writer, info in zip(writers, infos, strict=True):
            info.tensor.tofile(writer.fout[0])
    for writer, info in zip(writers, infos, strict=True):
        writer.write_padding(writer.fout[0], info.nbytes)
        info.tensor = None  # its memory is needed for the next one


def _streamed(weights: MergedWeights, output: Output, sources: Sources) -> Iterator[Callable[[], Array]]:
    """The blocks of a tensor that is not changed by the converter, each read and merged when it is called."""
    stored = SourceRows(output, sources.of(output))
    merged = MergedRows(weights.adapter, output, stored)
    for block in stored.blocks():
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
