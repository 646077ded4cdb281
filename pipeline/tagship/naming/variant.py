"""What of a format's variants goes into names."""

from msgspec import Struct


class Variant(Struct, frozen=True, kw_only=True):
    """One thing that a format exports, with its parts of names (`[naming]`).

    `quant` is None for a format that has no quantization types.
    """

    quant: str | None
    kind: str
    prefix: str
    label: str
