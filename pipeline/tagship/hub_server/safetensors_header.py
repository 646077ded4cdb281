"""The header of a safetensors file: https://huggingface.co/docs/safetensors."""

import json
import math
from typing import Any

from tagship.hub_server.headers import BadHeader, Bytes

# The client's own bound.
_LONGEST = 25_000_000
_LENGTH_BYTES = 8


def read_safetensors(file: Bytes) -> dict[str, Any]:
    """The header: each tensor's dtype, shape and offsets by its name, and `__metadata__`. Raises BadHeader."""
    length = int.from_bytes(file.take(_LENGTH_BYTES), "little")
    if not 2 <= length <= min(_LONGEST, file.size - _LENGTH_BYTES):
        raise BadHeader(f"a header of {length} bytes")
    try:
        header = json.loads(file.take(_LENGTH_BYTES + length)[_LENGTH_BYTES:])
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"no JSON: {error}") from error
    if not isinstance(header, dict):
        raise BadHeader("no JSON object")
    return header


def parameters(header: dict[str, Any]) -> dict[str, int]:
    """How many numbers of each dtype there are. Raises BadHeader."""
    counts: dict[str, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            try:
                dtype, size = str(tensor["dtype"]), math.prod(int(length) for length in tensor["shape"])
            except (KeyError, TypeError, ValueError) as error:
                raise BadHeader(f"the tensor {name!r} has no dtype and shape") from error
            counts[dtype] = counts.get(dtype, 0) + size
    return counts
