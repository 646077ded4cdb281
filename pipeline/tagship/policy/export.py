"""`[export]`: what adapters are merged into, what merged weights are converted to and how they are
computed, and how large their files are."""

import re

from tagship.formats.protocol import DTYPES, NF4, ExportPolicy
from tagship.system.toml_reader import Reader


def read_export(table: Reader) -> ExportPolicy:
    """What `[export]` says of all formats; formats ask for keys of their own, so that nobody closes it here."""
    return ExportPolicy(
        dtype=DTYPES.get(table.choice("dtype", "", ("", *DTYPES))),
        base=table.choice("base", "", ("", NF4)) or None,
        max_shard=table.parsed("max_shard", "", _size),
        portable=table.flag("portable", False),
    )


def _size(text: str) -> int | None:
    """Bytes, as people write them: 5GB, 500 MB, 2GiB."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT])(i?)B", text)
    if found is None or not float(found[1]):
        raise ValueError(f"must be a size such as 5GB or 500MB, not {text!r}")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** ("kMGT".index(found[2]) + 1))
