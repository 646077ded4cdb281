"""Writes the files of a merged model, streaming: blocks of rows are in memory, never a model.

Bytes that nothing changes are copied by the kernel; blocks of changed rows are computed by a few
threads, and each is written to its place.
"""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.files import copy_file, copy_range, write_json
from pipeline.progress import Advance, silent
from pipeline.weights.checkpoint import INDEX_FILE
from pipeline.weights.layout import Shard, lay_out
from pipeline.weights.lora import Adapter
from pipeline.weights.merge import MergedWeights, Output
from pipeline.weights.rows import MergedRows, cut_off, one_blas_thread, opened


def write_merged(
    weights: MergedWeights, folder: Path, advance: Advance = silent, *, max_shard: int | None = None
) -> None:
    """Write the merged shards, and their index where there are several, into a folder.

    `advance` counts the bytes of weights written; `max_shard` is the largest file in bytes. Raises
    ReleaseError when the adapter or a sum is not finite, or the base is cut off.
    """
    layout = lay_out(weights, max_shard)
    with ThreadPoolExecutor(os.cpu_count()) as pool, one_blas_thread():
        for shard in layout.shards:
            _write_shard(weights.adapter, shard, folder / shard.name, pool, advance)
    if layout.index is weights.base.index and layout.index is not None:
        copy_file(weights.base.folder / INDEX_FILE, folder / INDEX_FILE)
    elif layout.index is not None:
        write_json(folder / INDEX_FILE, layout.index)


def _write_shard(adapter: Adapter, shard: Shard, target: Path, pool: ThreadPoolExecutor, advance: Advance) -> None:
    with opened(target, os.O_WRONLY | os.O_CREAT) as sink:
        os.ftruncate(sink, shard.size)
        _write_at(sink, memoryview(shard.header), 0, target.name)
        for output, at in shard.tensors:
            with opened(output.source.path) as source:
                if os.fstat(source).st_size < output.source.entry.end:
                    raise cut_off(output)
                if output.copied:
                    copy_range(source, sink, output.source.entry.start, output.nbytes, at, advance)
                else:
                    _write_tensor(MergedRows(adapter, output, source), output, sink, at, pool, advance)


def _write_tensor(
    merged: MergedRows, output: Output, sink: int, at: int, pool: ThreadPoolExecutor, advance: Advance
) -> None:
    def write(block: tuple[int, int]) -> int:
        data = np.ascontiguousarray(merged.rows(*block)).reshape(-1).view(np.uint8).data
        _write_at(sink, data, at + block[0] * merged.row_nbytes, output.name)
        return data.nbytes

    for written in pool.map(write, merged.blocks()):
        advance(written)


def _write_at(sink: int, data: memoryview, at: int, what: str) -> None:
    if os.pwrite(sink, data, at) != data.nbytes:
        raise OSError(errno.ENOSPC, f"only a part of {what} could be written")
