"""What of a format's variants goes into names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One thing that a format exports, with its parts of names (`[naming]`).

    `quant` is None for a format that has no quantization types.
    """

    quant: str | None
    kind: str
    prefix: str
    label: str
