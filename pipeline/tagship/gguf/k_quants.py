"""Q4_K and Q5_K several times as fast as ggml encodes them, to the same bytes.

Nearly all of the time of such a file goes into the search for each block's scale and minimum. ggml does it for
one block after another, and its sums, whose order decides the bits, cannot be vectorized; here a compiled loop does it
for many blocks side by side, each in ggml's own order of operations (ggml-quants.c, make_qkx2_quants and
quantize_row_q4_K_ref, of the revision that `quant_mix.py` names). Before a type is used, a sample is
compared with what ggml writes on this machine: where that differs, as with a ggml that fuses multiply and add, ggml
encodes everything.
"""

import threading
from functools import cache
from typing import Any

import numpy as np
from msgspec import Struct

from tagship.gguf import ggml
from tagship.weights.scratch import Array, scratch

_BLOCK, _SUB, _SUBS = 256, 32, 8
# One thread compiles, and the others wait for it.
_compiling = threading.Lock()


class _Search(Struct, frozen=True, kw_only=True):
    """How ggml searches for a type: the largest quant, and the steps of its scale around (largest + first)."""

    largest: int
    first: float
    step: float
    steps: int


# By ggml's numbers of Q4_K and Q5_K.
_SEARCHES = {
    12: _Search(largest=15, first=-1.0, step=0.1, steps=20),
    13: _Search(largest=31, first=-0.5, step=0.1, steps=15),
}


def encode(rows: Array, kind: int) -> Array:
    """Encode rows (rows, columns) of float32 as `ggml.encode` does."""
    if kind not in _SEARCHES or rows.shape[1] % _BLOCK:
        return ggml.encode(rows, kind)
    with _compiling:
        agrees = _agrees(kind)
    return _encoded(np.ascontiguousarray(rows, np.float32), kind) if agrees else ggml.encode(rows, kind)


@cache
def _agrees(kind: int) -> bool:
    """Whether a sample has ggml's bytes here: numbers of several sizes, outliers, zeros, and only one sign."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    random = np.random.default_rng(0)
    sample = random.standard_normal((96, _BLOCK)).astype(np.float32)
    sample *= np.float32(10) ** random.integers(-6, 4, (96, 1)).astype(np.float32)
    sample[:8, ::37] *= 100
    sample[8:16] = np.abs(sample[8:16])
    sample[16:24, :128] = 0
    sample[24:28] = np.round(sample[24:28])
    return bool(np.array_equal(_encoded(sample, kind), ggml.encode(sample, kind)))


def _encoded(rows: Array, kind: int) -> Array:
    search = _SEARCHES[kind]
    values = rows.reshape(-1, _SUBS, _SUB)
    found = _scales(kind)(rows.reshape(-1, _SUB))
    scales, minima = (part.reshape(-1, _SUBS) for part in found)
    with np.errstate(all="ignore"):
        steps, scale = _six_bits(scales)
        floors, minimum = _six_bits(minima)
        width = scale.astype(np.float32)[:, None] * steps
        below = minimum.astype(np.float32)[:, None] * floors
        quants = scratch("quants", values.shape, np.dtype(np.float32))
        np.divide(np.add(values, below[..., None], out=quants), width[..., None], out=quants)
        np.clip(np.rint(quants, out=quants), 0, search.largest, out=quants)
    # ggml keeps what its search found where a scale is rounded to nothing, wraps a negative one, and has its own ways
    # with numbers at the end of float32's range.
    unusual = (width == 0) | (scales < 0) | ~np.isfinite(width + below)
    left = np.flatnonzero(unusual.any(axis=1))
    quants[left] = 0
    encoded = np.empty((len(values), ggml.row_size(kind, _BLOCK)), np.uint8)
    encoded[:, 0:2] = scale.view(np.uint8).reshape(-1, 2)
    encoded[:, 2:4] = minimum.view(np.uint8).reshape(-1, 2)
    steps[left] = floors[left] = 0
    encoded[:, 4:16] = _packed_scales(steps.astype(np.uint8), floors.astype(np.uint8))
    _pack_quants(quants.astype(np.uint8).reshape(-1, 4, 2, _SUB), encoded[:, 16:])
    if left.size:
        encoded[left] = ggml.encode(rows.reshape(-1, _BLOCK)[left], kind).reshape(left.size, -1)
    return encoded.reshape(-1)


def _six_bits(values: Array) -> tuple[Array, Array]:
    """The values of each block in steps of its largest, and that step in 16 bits."""
    largest = np.maximum(values.max(axis=1), np.float32(0))
    inverse = np.where(largest > 0, np.float32(63) / largest, np.float32(0))
    steps = np.minimum(np.rint(inverse[:, None] * values), np.float32(63))
    return steps, (largest / np.float32(63)).astype(np.float16)


def _packed_scales(steps: Array, floors: Array) -> Array:
    """Eight scales and eight minima of six bits in twelve bytes."""
    packed = np.empty((len(steps), 12), np.uint8)
    packed[:, 0:4] = steps[:, :4] | (steps[:, 4:] >> 4) << 6
    packed[:, 4:8] = floors[:, :4] | (floors[:, 4:] >> 4) << 6
    packed[:, 8:12] = (steps[:, 4:] & 15) | (floors[:, 4:] & 15) << 4
    return packed


def _pack_quants(quants: Array, packed: Array) -> None:
    """Quants (blocks, 4, 2, 32): four bits of two in a byte, behind the fifth bits of Q5_K, if there is room."""
    if packed.shape[1] > _BLOCK // 2:
        shifts = np.arange(8, dtype=np.uint8).reshape(4, 2, 1)
        packed[:, :_SUB] = np.bitwise_or.reduce((quants >> 4) << shifts, axis=(1, 2))
    low = quants & 15
    packed[:, -_BLOCK // 2 :] = (low[:, :, 0] | low[:, :, 1] << 4).reshape(len(quants), -1)


@cache
def _scales(kind: int) -> Any:
    """The compiled search for a type: scales and minima of sub-blocks (number, 32)."""
    import numba

    search = _SEARCHES[kind]
    f32 = np.float32
    largest, first, step, steps = f32(search.largest), f32(search.first), f32(search.step), search.steps
    # As many sub-blocks side by side as stay in the first cache. Each loop below works on few arrays: with more, the
    # compiler gives up on proving that they do not overlap, and does not vectorize.
    lanes, zero, magic = 128, f32(0), f32(12582912)  # adding and taking 1.5 * 2**23 rounds to whole numbers

    @numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
    def scales_of(blocks: Array) -> tuple[Array, Array]:
        number = len(blocks)
        scales, minima = np.empty(number, f32), np.empty(number, f32)
        x, w, levels = np.empty((32, lanes), f32), np.empty((32, lanes), f32), np.empty((32, lanes), f32)
        low, high, low_before = np.empty(lanes, f32), np.empty(lanes, f32), np.empty(lanes, f32)
        sum_w, sum_x, scale = np.empty(lanes, f32), np.empty(lanes, f32), np.empty(lanes, f32)
        sum_l, sum_l2, sum_xl = np.empty(lanes, f32), np.empty(lanes, f32), np.empty(lanes, f32)
        inverse, best, error = np.empty(lanes, f32), np.empty(lanes, f32), np.empty(lanes, f32)
        new_scale, new_low, part = np.empty(lanes, f32), np.empty(lanes, f32), np.empty(lanes, f32)
        for begin in range(0, number, lanes):
            for v in range(lanes):
                block = min(begin + v, number - 1)
                for i in range(32):
                    x[i, v] = blocks[block, i]
            part[:] = zero
            for i in range(32):
                for v in range(lanes):
                    part[v] += x[i, v] * x[i, v]
            for v in range(lanes):
                part[v] = np.sqrt(part[v] / f32(32))
            for i in range(32):
                for v in range(lanes):
                    w[i, v] = part[v] + abs(x[i, v])
            low[:] = x[0]
            high[:] = x[0]
            sum_w[:] = w[0]
            for v in range(lanes):
                sum_x[v] = w[0, v] * x[0, v]
            for i in range(1, 32):
                for v in range(lanes):
                    low[v] = min(low[v], x[i, v])
                for v in range(lanes):
                    high[v] = max(high[v], x[i, v])
                for v in range(lanes):
                    sum_w[v] += w[i, v]
                for v in range(lanes):
                    sum_x[v] += w[i, v] * x[i, v]
            for v in range(lanes):
                low[v] = min(low[v], zero)
            low_before[:] = low
            for v in range(lanes):
                inverse[v] = largest / (high[v] - low[v])
                scale[v] = f32(1) / inverse[v]
            best[:] = zero
            for i in range(32):
                for v in range(lanes):
                    level = (inverse[v] * (x[i, v] - low[v]) + magic) - magic
                    part[v] = max(zero, min(largest, level))
                for v in range(lanes):
                    part[v] = scale[v] * part[v] + low[v]
                for v in range(lanes):
                    difference = part[v] - x[i, v]
                    best[v] += w[i, v] * (difference * difference)
            for number_of_step in range(steps + 1):
                for v in range(lanes):
                    inverse[v] = (first + step * f32(number_of_step) + largest) / (high[v] - low[v])
                sum_l[:] = zero
                sum_l2[:] = zero
                sum_xl[:] = zero
                error[:] = zero
                for i in range(32):
                    for v in range(lanes):
                        level = (inverse[v] * (x[i, v] - low[v]) + magic) - magic
                        levels[i, v] = max(zero, min(largest, level))
                    for v in range(lanes):
                        part[v] = w[i, v] * levels[i, v]
                    for v in range(lanes):
                        sum_l[v] += part[v]
                    for v in range(lanes):
                        sum_l2[v] += part[v] * levels[i, v]
                    for v in range(lanes):
                        sum_xl[v] += part[v] * x[i, v]
                for v in range(lanes):
                    inverse[v] = sum_w[v] * sum_l2[v] - sum_l[v] * sum_l[v]
                for v in range(lanes):
                    new_scale[v] = (sum_w[v] * sum_xl[v] - sum_x[v] * sum_l[v]) / inverse[v]
                    new_low[v] = (sum_l2[v] * sum_x[v] - sum_l[v] * sum_xl[v]) / inverse[v]
                    if new_low[v] > zero:
                        new_low[v] = zero
                        new_scale[v] = sum_xl[v] / sum_l2[v]
                for i in range(32):
                    for v in range(lanes):
                        part[v] = new_scale[v] * levels[i, v] + new_low[v]
                    for v in range(lanes):
                        difference = part[v] - x[i, v]
                        error[v] += w[i, v] * (difference * difference)
                for v in range(lanes):
                    if inverse[v] > zero and error[v] < best[v]:
                        best[v] = error[v]
                        scale[v] = new_scale[v]
                        low[v] = new_low[v]
            for v in range(min(lanes, number - begin)):
                scales[begin + v] = scale[v] if high[v] != low_before[v] else zero
                minima[begin + v] = -low[v]
        return scales, minima

    return scales_of
