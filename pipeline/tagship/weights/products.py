"""Products of float32 with weights in bfloat16, which stay as they are.

A BLAS has float32 on both sides: weights are cast first. Here a loop in C does that on the way, by what the processor
has for it; there is one where there was a compiler when tagship was installed (`hatch_build.py`).
"""

from functools import cache

from tagship.weights.compiled import library_of
from tagship.weights.product_loops import ProductLoops
from tagship.weights.scratch import Array
from tagship.weights.tiles import find_tiles
from tagship.weights.vectors import find_vectors


def can_multiply() -> bool:
    """Whether there is a loop for this processor, and it is right."""
    return _own_loops() is not None


def multiply(values: Array, weights: Array) -> Array:
    """As `ProductLoops.multiply`; `can_multiply` is true."""
    loops = _own_loops()
    assert loops is not None
    return loops.multiply(values, weights)


@cache
def _own_loops() -> ProductLoops | None:
    return find_tiles(library_of("tiles")) or find_vectors(library_of("vectors"))
